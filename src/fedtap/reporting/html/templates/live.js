/* Renews a page that is served while its run goes on: asks for it again, and changes in place what has become other, so that nothing
   flashes and what the reader has opened, sorted, chosen and scrolled to stays. The page is whole without it, and then stands still. */
(function () {
  "use strict";
  var EVERY = 1000, SLOWLY = 5000, tag = null, asking = false, timer = null;
  var KEPT = { DETAILS: ["open"], TH: ["aria-sort"] };
  function attributes(old, fresh) {
    var kept = KEPT[old.tagName] || [];
    Array.from(old.attributes).forEach(function (each) {
      if (!fresh.hasAttribute(each.name) && kept.indexOf(each.name) < 0) { old.removeAttribute(each.name); }
    });
    Array.from(fresh.attributes).forEach(function (each) {
      if (old.getAttribute(each.name) !== each.value && kept.indexOf(each.name) < 0) { old.setAttribute(each.name, each.value); }
    });
  }
  function name(node) { return node.nodeType === 1 ? node.tagName + "#" + (node.id || "") : String(node.nodeType); }
  function children(old, fresh) {
    var ids = {};
    Array.from(old.children).forEach(function (each) { if (each.id) { ids[each.id] = each; } });
    var at = old.firstChild;
    Array.from(fresh.childNodes).forEach(function (wanted) {
      var found = wanted.nodeType === 1 && wanted.id && ids[wanted.id];
      if (!found && at && name(at) === name(wanted)) { found = at; }
      if (found && name(found) === name(wanted)) {
        if (found === at) { at = at.nextSibling; } else { old.insertBefore(found, at); }
        change(found, wanted);
      } else {
        old.insertBefore(document.importNode(wanted, true), at);
      }
    });
    while (at) { var gone = at; at = at.nextSibling; old.removeChild(gone); }
  }
  function change(old, fresh) {
    if (old.tagName === "SCRIPT" || old.isEqualNode(fresh)) { return; }
    if (old.nodeType !== 1) { old.data = fresh.data; return; }
    attributes(old, fresh);
    var button = old.tagName === "TH" && old.querySelector(":scope > button.sort");
    if (button) { if (button.textContent !== fresh.textContent) { children(button, fresh); } return; }
    children(old, fresh);
  }
  function topmost() {
    return Array.from(document.querySelectorAll("header, main > section")).find(function (each) {
      return each.getBoundingClientRect().bottom > 0;
    });
  }
  function renew(text) {
    var fresh = new DOMParser().parseFromString(text, "text/html");
    var seen = topmost(), was = seen ? seen.getBoundingClientRect().top : 0;
    document.title = fresh.title;
    change(document.body, fresh.body);
    document.dispatchEvent(new Event("renewed"));
    if (seen && seen.isConnected && seen.tagName === "SECTION") { scrollBy(0, seen.getBoundingClientRect().top - was); }
    ages();
  }
  function state() {
    var found = document.querySelector("[data-live]");
    return found ? found.dataset.live : "";
  }
  function connection(text) {
    var found = document.getElementById("connection");
    if (found && found.textContent !== text) { found.textContent = text; }
  }
  function ages() {
    Array.from(document.querySelectorAll("time[data-at]")).forEach(function (each) {
      var passed = Math.max(0, Math.round(Date.now() / 1000 - Number(each.dataset.at)));
      each.title = passed < 120 ? passed + " seconds ago" : Math.round(passed / 60) + " minutes ago";
    });
  }
  function later(wait) { clearTimeout(timer); timer = setTimeout(ask, wait); }
  function ask() {
    if (asking) { return; }
    asking = true;
    var began = Date.now();
    fetch(location.pathname, { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} }).then(function (reply) {
      if (reply.status !== 200) { return reply.status === 304 ? null : Promise.reject(new Error(String(reply.status))); }
      tag = reply.headers.get("ETag");
      return reply.text();
    }).then(function (text) {
      if (text !== null) { renew(text); }
      connection("");
      asking = false;
      var slowly = document.hidden || state() === "ended";
      later(slowly ? SLOWLY : Math.max(EVERY, 10 * (Date.now() - began)));
    }).catch(function () {
      asking = false;
      if (state() === "ended") { connection("This page is no longer served; what is here is complete."); return; }
      connection("This page is no longer served, so what is here may be old. fedtap watch shows it again.");
      later(SLOWLY);
    });
  }
  document.documentElement.style.overflowAnchor = "none";
  document.addEventListener("visibilitychange", ask);
  later(EVERY);
})();
