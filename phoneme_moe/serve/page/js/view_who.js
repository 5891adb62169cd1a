// Who routes where: the routing report, and where the voice of the recording lies among the speakers.

import { jobDone, postForJson, postJson } from "./api.js";
import { attempt, el, fill, percent, say } from "./elements.js";

const SHOWN = 12; // nearest speakers

export function whoView(app, panel) {
  const place = el("div", { "aria-live": "polite" });
  const report = el("div");
  fill(panel, place, report);
  drawReport();

  function drawReport() {
    if (!app.run.has_report) {
      fill(report,
        el("h3", { textContent: "There is no routing report of this run yet" }),
        el("p", { className: "hint", textContent: app.run.corpus_is_prepared
          ? "It takes seconds for a small corpus and minutes for a large one. phoneme-moe report makes one that stays."
          : `Its corpus, ${app.run.corpus}, is not prepared here, so none can be made.` }),
        app.run.corpus_is_prepared
          ? el("button", { type: "button", className: "main", textContent: "Make the report", onclick: () => attempt(make) }) : "");
      return;
    }
    const address = `/report/${encodeURIComponent(app.run.name)}`;
    fill(report,
      el("h3", { textContent: "The routing report" }),
      el("p", {}, el("a", { href: address, target: "_blank", rel: "noopener", textContent: "Open it on a page of its own" })),
      el("iframe", { src: address, title: "Routing report" }));
  }

  async function make() {
    const job = await postForJson("/v1/report", { run: app.run.name }, null);
    await jobDone(job, (stage) => say(`Making the report: ${stage} …`));
    app.run.has_report = true;
    say("The report is made; it ends with the server.");
    drawReport();
    await locate();
  }

  async function locate() {
    if (!app.inspection || !app.run.has_report || app.inspection.experts.length < 2) return;
    const weights = app.inspection.experts.map((name) => app.inspection.routing[name]);
    fill(place, ...contents(app, await postJson("/v1/speakers", { run: app.run.name }, { weights })));
  }

  if (!app.recording) fill(place, el("p", { className: "hint", textContent: "Record yourself or choose a recording to see where its voice lies among the speakers." }));
  return { recorded: () => attempt(locate) };
}

function contents(app, { experts, weights, nearest, sentence }) {
  const colours = app.server.expert_colours;
  const stacked = (shares) => el("span", { className: "stacked", role: "img", "aria-label": shares.map((w, i) => `${experts[i]} ${percent(w)}`).join(", ") },
    shares.map((share, index) => el("i", { style: { width: `${100 * share}%`, background: colours[index % colours.length] } })));
  const row = (name, shares, distance) => el("tr", {},
    el("th", { scope: "row", textContent: name }), el("td", {}, stacked(shares)), el("td", { textContent: distance }));
  return [
    el("p", { className: "lead", textContent: sentence }),
    el("ul", { className: "legend" }, experts.map((name, index) => el("li", {}, el("i", { style: { background: colours[index % colours.length] } }), name))),
    el("div", { className: "scroll" }, el("table", {},
      el("caption", {}, el("span", { textContent: "Mean weights of the experts: this recording, and the speakers who are routed most like it. The distance is Jensen and Shannon's: 0 for the same weights, 1 for no common expert." })),
      el("thead", {}, el("tr", {}, ["", "mean weights", "distance"].map((text) => el("th", { scope: "col", textContent: text })))),
      el("tbody", {}, row("this recording", weights, ""), nearest.slice(0, SHOWN).map((one) => row(one.speaker, one.weights, one.distance.toFixed(3)))))),
  ];
}
