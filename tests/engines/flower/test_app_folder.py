"""The app's folder, as Flower itself checks it, and certificates, as TLS libraries check them."""

import ipaddress
import os
import ssl
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="Flower needs Python 3.11")

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from flwr.common.config import get_fused_config_from_dir, get_project_config

from fedtap.deployment.run_config import RunConfig
from fedtap.engines.flower.app_folder import PACKAGE, write_app
from fedtap.engines.flower.certificates import make_certificates, make_node_key
from fedtap.engines.flower.nodes import read_keys
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import load_scenario
from tiny_federation import called, write_scenario


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "federation"
    folder.mkdir()
    return write_scenario(folder)


def test_flower_takes_the_app_and_every_setting_is_one_that_is_read(scenario: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    assert called("flower", "init", app, "--scenario", scenario, "--keys", "/srv/keys", "--out", "/srv/run") == 0
    assert get_project_config(app)["project"]["name"] == "tiny"
    config = get_fused_config_from_dir(app, {})
    assert RunConfig.read(config) == RunConfig(keys="/srv/keys", out="/srv/run")
    fields = {name.replace("_", "-") for name in RunConfig.__dataclass_fields__}
    assert {"set" if name == "overrides" else name for name in fields} == set(config)
    assert load_scenario(app / PACKAGE / "scenario.yaml", folder=scenario.parent) == load_scenario(scenario)


def test_a_plain_connection_must_be_asked_for_by_name(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("flower", "init", tmp_path / "app", "--scenario", scenario) == 2
    assert "--insecure" in capsys.readouterr().err
    assert called("flower", "init", tmp_path / "app", "--scenario", scenario, "--insecure") == 0
    assert get_fused_config_from_dir(tmp_path / "app", {})["insecure"] is True
    assert called("flower", "init", tmp_path / "app", "--scenario", scenario, "--insecure") == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_scenario_that_is_too_long_for_an_app_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="longer than"):
        write_app(tmp_path / "app", "#" * 6_000_000, name="long")
    assert not (tmp_path / "app").exists()


def test_the_certificate_holds_for_its_hosts_and_no_others(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, ["example.org", "10.1.2.3"])
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    server = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    hosts = (x509.DNSName("example.org"), x509.IPAddress(ipaddress.ip_address("10.1.2.3")))
    for host in hosts:
        PolicyBuilder().store(Store([authority])).build_server_verifier(host).verify(server, [])
    with pytest.raises(x509.verification.VerificationError):
        PolicyBuilder().store(Store([authority])).build_server_verifier(x509.DNSName("other.org")).verify(server, [])
    other = x509.load_pem_x509_certificate(make_certificates(tmp_path / "other").authority.read_bytes())
    with pytest.raises(x509.verification.VerificationError):
        PolicyBuilder().store(Store([other])).build_server_verifier(hosts[0]).verify(server, [])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)  # the key belongs to the certificate
    assert os.stat(made.key).st_mode & 0o777 == 0o600
    with pytest.raises(UserError, match="is there already"):
        make_certificates(tmp_path)


def test_public_keys_are_read_by_client(tmp_path: Path) -> None:
    public = {client: make_node_key(tmp_path / client).read_text() for client in ("north", "south")}
    keys = read_keys(tmp_path, ["north", "south", "west"])
    assert sorted(keys) == ["north", "south"]
    assert keys["north"] != keys["south"]
    assert all(key.startswith(b"-----BEGIN PUBLIC KEY-----") for key in keys.values())
    (tmp_path / "west.pub").write_text("no key")
    with pytest.raises(UserError, match=r"west\.pub: no public key"):
        read_keys(tmp_path, ["west"])
    with pytest.raises(UserError, match=r"holds no <client>\.pub"):
        read_keys(tmp_path, ["east"])
    assert all(text.startswith("ecdsa-sha2-nistp384 ") for text in public.values())
