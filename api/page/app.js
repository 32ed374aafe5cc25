// The web page: polls /v1/jobs, and one job when it is opened. Everything from the server enters as text, never as HTML.
"use strict";

const SHOWN = 50; // chosen samples of one report
const POLL_MS = 1500;
const STAGES = ["download", "preprocess", "inference"];
const at = (id) => document.getElementById(id);
let token = "";
let opened = ""; // the id of the job that the address names after its #
let shownReport = null;
let listed = "";

async function get(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers, cache: "no-store" });
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  const error = new Error(problem.detail || `the server answered ${response.status}`);
  error.status = response.status;
  throw error;
}

function make(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(...cells) {
  const made = make("tr");
  for (const cell of cells) {
    const td = make("td");
    td.append(cell);
    made.append(td);
  }
  return made;
}

function bar(done, total, label) {
  const made = make("progress");
  made.max = Math.max(1, total);
  made.value = done;
  made.setAttribute("aria-label", label);
  const both = make("span");
  both.append(made, ` ${done} / ${total}`);
  return both;
}

function scanned(job) {
  if (job.kind === "import") return `${job.progress.total} rows`;
  const last = job.progress.stages.inference;
  return bar(last ? last.done : 0, last ? last.total : job.progress.total, `progress of job ${job.id}`);
}

function jobRow(job) {
  const open = make("a", job.id.slice(0, 8));
  open.href = `#${encodeURIComponent(job.id)}`;
  const strategy = job.strategy ? job.strategy.type : job.kind;
  const created = new Date(job.created).toLocaleString();
  return row(open, make("span", job.state, job.state), strategy, String(job.budget ?? ""), scanned(job), created);
}

function stageRow(job, stage) {
  const reached = job.progress.stages[stage] || { done: 0, total: job.progress.total };
  return row(stage, bar(reached.done, reached.total, stage));
}

function showJob(job) {
  at("job").hidden = false;
  at("job-title").textContent = `Job ${job.id}`;
  if (job.kind === "import") {
    at("job-facts").textContent = `${job.state} · import · ${job.progress.total} rows, ${job.progress.failed} left out`;
  } else {
    at("job-facts").textContent = facts(job);
  }
  at("job-error").hidden = !job.error;
  at("job-error").textContent = job.error ? `${job.error.title}: ${job.error.detail}` : "";
  at("stages").replaceChildren(...(job.kind === "import" ? [] : STAGES.map((stage) => stageRow(job, stage))));
}

function facts(job) {
  return (
    `${job.state} · ${job.kind} · model ${[].concat(job.model).join(", ")} · ${job.progress.total} samples, ` +
    `${job.progress.cached} known before, ${job.progress.failed} left out`
  );
}

// A text that stands in its own URI is shown as it is.
function named(uri) {
  const prefix = "data:text/plain;charset=utf-8,";
  if (!uri.startsWith(prefix)) return uri;
  try {
    return decodeURIComponent(uri.slice(prefix.length));
  } catch {
    return uri;
  }
}

async function showReport(job) {
  if (shownReport === job.id) return;
  shownReport = null;
  clearReport();
  if (job.state !== "succeeded" || job.kind !== "query") return;
  const report = await get(`/v1/jobs/${job.id}/report`);
  if (opened !== job.id) return;
  const chosen = report.selected.slice(0, SHOWN);
  at("chosen-title").hidden = at("chosen-head").hidden = false;
  at("chosen-title").textContent = `First ${chosen.length} of ${report.selected.length} chosen samples`;
  at("chosen").replaceChildren(...chosen.map((one) => row(String(one.rank), scored(one), named(one.uri))));
  shownReport = job.id;
}

function scored(one) {
  const score = one.score.toPrecision(6);
  return one.drawn === "strategy" ? score : `${score} (${one.drawn})`;
}

function clearReport() {
  at("chosen-title").hidden = at("chosen-head").hidden = true;
  at("chosen").replaceChildren();
}

function open() {
  opened = decodeURIComponent(location.hash.slice(1));
  shownReport = null;
  at("job").hidden = true;
  clearReport();
}

async function refreshJob() {
  const id = opened;
  if (!id) return;
  const job = await get(`/v1/jobs/${encodeURIComponent(id)}`);
  if (opened !== id) return; // Another job was opened meanwhile.
  showJob(job);
  await showReport(job);
}

async function refresh() {
  const jobs = (await get("/v1/jobs?limit=50")).items;
  const text = JSON.stringify(jobs);
  if (text !== listed) at("jobs").replaceChildren(...jobs.map(jobRow)); // Else a click or the focus could be lost.
  listed = text;
  at("none").hidden = jobs.length > 0;
  at("login").hidden = true;
  await refreshJob();
}

async function look(what) {
  try {
    await what();
    at("notice").textContent = "";
  } catch (error) {
    at("notice").textContent = error.status === 401 && !token ? "" : error.message;
    if (error.status === 401) at("login").hidden = false;
  }
}

async function loop() {
  if (at("login").hidden && !document.hidden) await look(refresh);
  setTimeout(loop, POLL_MS);
}

async function start() {
  // /openapi.json is open, so a page without a token can tell that it needs one before it asks for anything.
  const described = await get("/openapi.json");
  at("server").textContent = described.info.version;
  at("login").hidden = !described.components.securitySchemes;
}

at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("login").hidden = true;
  look(refresh);
});
window.addEventListener("hashchange", () => {
  open();
  look(refreshJob);
});
open();
look(start).then(loop);
