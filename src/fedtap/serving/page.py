"""The page on which a model can be tried: one file of HTML and one of script, and nothing from elsewhere."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fedtap: try a model</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
label { display: block; margin: .8rem 0; }
input, select, textarea, button { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem; }
button { width: auto; padding: .4rem 1.2rem; }
table { border-collapse: collapse; margin-top: 1rem; }
td { padding: .1rem .8rem .1rem 0; }
td:nth-child(2) { font-variant-numeric: tabular-nums; }
img { width: 16rem; image-rendering: pixelated; }
.fault { color: #a40000; }
</style>
</head>
<body>
<h1>Try a model</h1>
<label id="key-row" hidden>Key <input id="key" type="password" autocomplete="off"></label>
<label>Model <select id="model"></select></label>
<label>Task <select id="task"></select></label>
<label id="text-row" hidden>Text <textarea id="text" rows="3"></textarea></label>
<label id="image-row" hidden>Picture <input id="image" type="file" accept="image/*"></label>
<button id="ask" disabled>Ask</button>
<div id="answer" role="status" aria-live="polite"></div>
<script src="page.js"></script>
</body>
</html>
"""
SCRIPT = """"use strict";
const at = (id) => document.getElementById(id);
let models = [];

const headers = () => (at("key").value ? { authorization: `Bearer ${at("key").value}` } : {});

function say(text, fault) {
  const line = document.createElement("p");
  line.textContent = text;
  line.className = fault ? "fault" : "";
  at("answer").replaceChildren(line);
}

function choices(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
}

function chosen() {
  const model = models.find((each) => each.name === at("model").value);
  return model && model.tasks.find((each) => each.name === at("task").value);
}

function showInputs() {
  const task = chosen();
  const parts = task ? task.modality.split("+") : [];
  at("text-row").hidden = !parts.includes("text");
  at("image-row").hidden = !parts.includes("image");
  at("ask").disabled = !task;
}

function showTasks() {
  const model = models.find((each) => each.name === at("model").value);
  choices(at("task"), model ? model.tasks.map((each) => each.name) : []);
  showInputs();
}

async function load() {
  const reply = await fetch("models", { headers: headers() });
  at("key-row").hidden = reply.status !== 401 && !at("key").value;
  if (!reply.ok) {
    say((await reply.json()).detail, true);
    return;
  }
  models = await reply.json();
  choices(at("model"), models.map((each) => each.name));
  at("answer").replaceChildren();
  showTasks();
}

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}

function show(answer) {
  if (answer.value !== null) return say(String(answer.value), false);
  if (answer.probabilities === null && answer.image === null) return say(answer.text, false);
  if (answer.image !== null) {
    const picture = document.createElement("img");
    picture.src = `data:image/png;base64,${answer.image}`;
    picture.alt = "the picture that the model draws";
    return at("answer").replaceChildren(picture);
  }
  const table = document.createElement("table");
  const ranked = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, probability] of ranked) {
    const row = table.insertRow();
    row.insertCell().textContent = answer.labels === null || !answer.labels.includes(label) ? label : `${label} ✓`;
    row.insertCell().textContent = `${(100 * probability).toFixed(2)}%`;
  }
  at("answer").replaceChildren(table);
}

async function ask() {
  const task = chosen();
  const parts = task.modality.split("+");
  const example = {};
  if (parts.includes("text")) example.text = at("text").value;
  if (parts.includes("image")) {
    const [file] = at("image").files;
    if (!file) return say("Choose a picture first.", true);
    example.image = await base64(file);
  }
  say("...", false);
  const reply = await fetch(`models/${encodeURIComponent(at("model").value)}/predict`, {
    method: "POST",
    headers: { ...headers(), "content-type": "application/json" },
    body: JSON.stringify({ task: task.name, examples: [example] }),
  });
  const told = await reply.json();
  if (reply.ok) show(told.answers[0]);
  else say(told.detail, true);
}

const safely = (action) => () => action().catch((error) => say(`No answer: ${error.message}`, true));
at("model").addEventListener("change", showTasks);
at("task").addEventListener("change", showInputs);
at("key").addEventListener("change", safely(load));
at("ask").addEventListener("click", safely(ask));
safely(load)();
"""
