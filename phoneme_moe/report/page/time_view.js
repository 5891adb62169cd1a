/* Synchronises audio and plot of an utterance: play, click, keys, zoom, values at the cursor. */
"use strict";
for (const player of document.querySelectorAll("[data-player]")) {
  const find = (selector) => player.querySelector(selector);
  const stage = find(".stage"), cursor = find(".cursor"), button = find(".play");
  const slider = find(".position input"), clock = find(".clock"), readout = find(".readout");
  const audio = find("audio"), plot = find("[data-plot]");
  const seconds = Number(player.dataset.seconds);
  const names = JSON.parse(find(".names").textContent);
  let now = 0, entry = null, panels = [];

  const data_of = (name) => {
    const source = entry.models.find((m) => m.type === "ColumnDataSource" && m.name === name);
    return source ? columns(source) : null;
  };
  const range = () => panels[0].model.x_range;

  /* Left edge and width of the time axis on the stage, in CSS pixels. */
  function axis() {
    const inner = panels[0].frame.bbox, box = panels[0].el.getBoundingClientRect();
    const base = stage.getBoundingClientRect();
    const last = panels[panels.length - 1].el.getBoundingClientRect();
    const foot = panels[panels.length - 1].frame.bbox;
    return {
      left: box.left - base.left + inner.left,
      width: inner.width,
      top: box.top - base.top,
      height: last.top - box.top + foot.bottom,
    };
  }

  function show(time, follow = true) {
    now = Math.max(0, Math.min(seconds, time));
    slider.value = now;
    slider.setAttribute("aria-valuetext", `${now.toFixed(2)} of ${seconds.toFixed(2)} seconds`);
    clock.textContent = `${now.toFixed(2)} / ${seconds.toFixed(2)} s`;
    if (!panels.length) return;
    const {start, end} = range();
    if (follow && (now < start || now > end)) zoom_to(now - 0.1 * (end - start), end - start);
    place();
    describe(now);
  }

  function place() {
    const {start, end} = range(), {left, width, top, height} = axis();
    const x = left + (width * (now - start)) / (end - start);
    cursor.classList.toggle("placed", now >= start && now <= end && width > 0);
    cursor.style.transform = `translateX(${x}px)`;
    cursor.style.top = `${top}px`;
    cursor.style.height = `${height}px`;
    cursor.dataset.time = now.toFixed(3);
  }

  /* Reference, hypothesis and weights at a time, as text. */
  function describe(time) {
    const at = (kind) => {
      const spans = data_of(kind);
      const i = spans ? [...spans.start].findIndex((s, j) => time >= s && time < spans.end[j]) : -1;
      return i < 0 ? "–" : spans.phoneme[i];
    };
    const weights = data_of("weights");
    let frame = 0;
    while (frame < weights.x.length - 2 && weights.x[frame + 1] <= time) frame += 1;
    const parts = names.map((name, i) => [
      name, (weights[`top${i + 1}`][frame] - weights[`top${i}`][frame]) / 100,
    ]).sort((a, b) => b[1] - a[1]).filter(([, share], i) => i === 0 || share >= 5).slice(0, 4);
    const bits = data_of("entropy").y[frame];
    const bold = (text) => Object.assign(document.createElement("b"), {textContent: text});
    readout.replaceChildren(
      `${time.toFixed(2)} s · reference `, bold(at("reference")), " · hypothesis ", bold(at("hypothesis")), " · ",
      ...parts.flatMap(([name, share], i) => [i ? ", " : "", bold(name), ` ${share.toFixed(0)} %`]),
      ` · ${bits.toFixed(2)} bits`,
    );
  }

  function seek(time) {
    if (audio) audio.currentTime = Math.max(0, Math.min(seconds, time));
    show(time);
  }
  function toggle() {
    if (!audio) return;
    if (!audio.paused) return audio.pause();
    if (now >= seconds - 0.02) seek(0);
    audio.play();
  }
  function zoom_to(start, width) {
    const wide = Math.min(seconds, Math.max(0.2, width));
    const from = Math.max(0, Math.min(seconds - wide, start));
    range().setv({start: from, end: from + wide});
    fit();
    place();
  }
  function zoom(how) {
    const {start, end} = range(), width = end - start;
    if (how === "all") return zoom_to(0, seconds);
    const next = how === "in" ? width / 2 : width * 2;
    const centre = now >= start && now <= end ? now : (start + end) / 2;
    zoom_to(centre - (next * (centre - start)) / width, next);
  }

  /* Phoneme labels are shown if their box is wide enough. */
  function fit() {
    const {start, end} = range(), scale = axis().width / (end - start);
    for (const kind of ["reference", "hypothesis"]) {
      const source = entry.models.find((m) => m.type === "ColumnDataSource" && m.name === kind);
      const {phoneme, start: from, end: to} = columns(source);
      const text = [...phoneme].map((p, i) => ((to[i] - from[i]) * scale >= 3 + 7 * p.length ? p : ""));
      put(source, {text});
    }
  }

  let running = false;
  function step() {
    if (!running) return;
    show(audio.currentTime);
    requestAnimationFrame(step);
  }
  if (audio) {
    button.disabled = false;
    audio.addEventListener("play", () => { button.textContent = "Pause"; running = true; step(); });
    for (const event of ["pause", "ended"])
      audio.addEventListener(event, () => {
        button.textContent = "Play";
        running = false;
        show(event === "ended" ? seconds : audio.currentTime);
      });
  }
  button.addEventListener("click", toggle);
  slider.addEventListener("input", () => seek(Number(slider.value)));
  for (const each of player.querySelectorAll("[data-zoom]"))
    each.addEventListener("click", () => zoom(each.dataset.zoom));
  stage.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 0.5 : 0.05;
    const does = {
      " ": toggle, ArrowLeft: () => seek(now - far), ArrowRight: () => seek(now + far),
      Home: () => seek(0), End: () => seek(seconds), "+": () => zoom("in"), "-": () => zoom("out"),
    }[event.key];
    if (!does || event.target !== stage) return;
    event.preventDefault();
    does();
  });
  const time_at = (event) => {
    const {left, width} = axis(), {start, end} = range();
    const x = event.clientX - stage.getBoundingClientRect().left - left;
    return x < 0 || x > width ? null : start + ((end - start) * x) / width;
  };
  stage.addEventListener("click", (event) => {
    const time = panels.length ? time_at(event) : null;
    if (time === null) return;
    seek(time);
    audio?.play();
  });
  stage.addEventListener("pointermove", (event) => {
    const time = panels.length && !running ? time_at(event) : null;
    if (time !== null) describe(time);
  });
  stage.addEventListener("pointerleave", () => { if (panels.length && !running) describe(now); });
  plot.addEventListener("drawn", ({detail}) => {
    entry = detail;
    panels = detail.view.child_views;
    fit();
    show(0);
    new ResizeObserver(() => requestAnimationFrame(() => { fit(); place(); })).observe(plot);
  });
}
