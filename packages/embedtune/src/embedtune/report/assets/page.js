"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const [baseName, tunedName] = data.names;
  const byId = (id) => document.getElementById(id);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const STEP = 50;
  const SMALLEST_GAIN = 0.01;
  const MEASURES = { hit_rate: "hit rate", mrr: "mean reciprocal rank", difference: "difference in hit rate" };
  const shown = { measure: "hit_rate", curve: data.primary, type: data.primary, ranks: null, most: STEP };

  /** An element whose text is always text: nothing from the data set is ever read as HTML. */
  function element(tag, { text, children = [], ...properties } = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    if (text !== undefined) made.textContent = text;
    made.append(...children);
    return made;
  }

  // Controls

  function choices(legend, options, chosen, choose) {
    const buttons = Object.entries(options).map(([value, text]) => {
      const button = element("button", { type: "button", text });
      button.dataset.value = value;
      button.setAttribute("aria-pressed", String(value === chosen));
      button.addEventListener("click", () => {
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
        choose(value);
      });
      return button;
    });
    return element("fieldset", { children: [element("legend", { text: legend }), ...buttons] });
  }

  function addControls() {
    const types = Object.fromEntries(data.types.map((name) => [name, name]));
    const curve = byId("curve-controls");
    curve.append(choices("Metric", MEASURES, shown.measure, (value) => { shown.measure = value; drawCurve(); }));
    curve.hidden = false;
    if (data.types.length < 2) return;
    const withAll = { ...types, "": "all" };
    curve.append(choices("Search", withAll, shown.curve, (value) => { shown.curve = value; drawCurve(); }));
    byId("type-controls").append(choices("Search", types, shown.type, chooseType));
    byId("type-controls").hidden = false;
  }

  function chooseType(name) {
    shown.type = name;
    for (const movement of document.querySelectorAll(".movement")) movement.hidden = movement.dataset.type !== name;
    drawGain();
    chooseRanks(null);
  }

  // Plots

  /** Plotly reads a few tags in its texts, links among them. */
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const named = (name) => style.getPropertyValue(`--${name}`).trim();
    // Okabe and Ito's, which colour-blind readers can tell apart; lighter ones on dark paper.
    const series = dark.matches
      ? ["#6cc3ea", "#f59f68", "#5fd0a5", "#e59cc5", "#f0e26b", "#b9b9b9"]
      : ["#0a6590", "#b85309", "#007a5a", "#a8487f", "#7a6a00", "#555555"];
    const names = ["paper", "ink", "muted", "line", "good", "bad"];
    return { ...Object.fromEntries(names.map((name) => [name, named(name)])), series };
  }

  function draw(id, traces, { x, y, ...rest }) {
    const { paper, ink, line, muted } = colours();
    const axis = { gridcolor: line, zerolinecolor: muted, linecolor: line, tickcolor: line, automargin: true };
    const layout = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 12, t: 36, b: 8 }, hoverlabel: { bgcolor: paper, bordercolor: line, font: { size: 13, color: ink } },
      // Where a finger scrolls the page, dragging over a plot must not zoom it.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      // A spike below 0 is drawn without an outline.
      xaxis: { ...axis, showgrid: false, spikecolor: muted, spikethickness: -1, ...x },
      yaxis: { ...axis, ...y }, ...rest,
    };
    Plotly.react(byId(id), traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  function drawCurve() {
    const names = shown.curve ? [shown.curve] : data.types;
    const paint = colours();
    const colour = (name) => (shown.curve ? paint.good : paint.series[data.types.indexOf(name) % paint.series.length]);
    const label = (name, model) => (shown.curve ? model : `${name}, ${model}`);
    const isDifference = shown.measure === "difference";
    const traces = isDifference
      ? names.map((name, place) => differences(name, colour(name), (place - (names.length - 1) / 2) * 0.12))
      : names.flatMap((name) => curves(name, shown.curve ? paint.muted : colour(name), colour(name), label));
    const deepest = Math.max(...names.map((name) => data.curves[name].base_hit_rate.length));
    const decision = { type: "line", x0: data.topK, x1: data.topK, y0: 0, y1: 1, yref: "paper", layer: "below" };
    const margin = { type: "rect", x0: 0, x1: 1, xref: "paper", y0: -data.margin, y1: data.margin, layer: "below" };
    const shapes = [{ ...decision, line: { color: paint.muted, width: 1, dash: "dot" } }];
    if (isDifference) shapes.push({ ...margin, line: { width: 0 }, fillcolor: paint.line, opacity: 0.5 });
    const ticks = [1, 3, 5, 10, 15, 20, data.topK].filter((k) => k <= Math.max(deepest, data.topK));
    byId("curve-plot").dataset.shows = `${shown.measure} ${shown.curve || "all"}`;
    draw("curve-plot", traces, {
      x: { title: { text: "k" }, tickvals: [...new Set(ticks)], zeroline: false },
      y: { title: { text: MEASURES[shown.measure] }, tickformat: isDifference ? "+.2f" : ".2f" },
      shapes, hovermode: "x unified", showlegend: !isDifference || names.length > 1,
    });
  }

  function curves(name, baseColour, tunedColour, label) {
    const line = (values, model, color, dash) => ({
      x: values.map((_, place) => place + 1), y: values, name: plain(label(name, model)), mode: "lines+markers",
      line: { color, width: 2, dash }, marker: { size: 5 }, hovertemplate: "%{y:.3f}",
    });
    const { [`base_${shown.measure}`]: base, [`tuned_${shown.measure}`]: tuned } = data.curves[name];
    return [line(base, baseName, baseColour, "dash"), line(tuned, tunedName, tunedColour, "solid")];
  }

  function differences(name, color, offset) {
    const rows = data.differences[name];
    return {
      x: rows.map(([k]) => k + offset), y: rows.map((row) => row[1]), name: plain(name), mode: "markers",
      marker: { color, size: 8 }, hovertemplate: "%{y:+.3f}, 95% interval %{customdata[0]:+.3f} to %{customdata[1]:+.3f}",
      customdata: rows.map((row) => row.slice(2)),
      error_y: {
        type: "data", symmetric: false, color, thickness: 2, width: 4,
        array: rows.map((row) => row[3] - row[1]), arrayminus: rows.map((row) => row[1] - row[2]),
      },
    };
  }

  const told = (rank) => (rank ? `rank ${rank}` : "not found");
  const fromTo = ([base, tuned]) => `${told(base)} → ${told(tuned)}`;
  const gain = ([base, tuned]) => (tuned ? 1 / tuned : 0) - (base ? 1 / base : 0);

  function drawGain() {
    const all = data.movements[shown.type].gains;
    const gains = all.filter(([change]) => Math.abs(change) >= SMALLEST_GAIN);
    const paint = colours();
    const count = (number) => number.toLocaleString("en");
    const few = all.reduce((sum, gain) => sum + (gains.includes(gain) ? 0 : gain[1]), 0);
    let end = 0;
    const middles = gains.map(([, number]) => { end += number; return end - number / 2; });
    const rest = few ? `; ${count(few)} more moved by less than ${SMALLEST_GAIN}` : "";
    byId("gain-count").textContent = `${count(end)} questions${rest}.`;
    draw("gain-plot", [{
      type: "bar", x: middles, y: gains.map(([change]) => change), width: gains.map(([, number]) => number),
      marker: { color: gains.map(([change]) => (change > 0 ? paint.good : paint.bad)), line: { width: 0 } },
      customdata: gains.map(([change, number, ranks]) => [count(number), ranks ? fromTo(ranks) : `${change}`]),
      hovertemplate: "%{customdata[0]}: %{customdata[1]}<extra></extra>",
    }], {
      x: { showticklabels: false, range: [0, Math.max(end, 1)] },
      y: { title: { text: "change in 1 / rank" }, tickformat: "+.2f" }, showlegend: false, bargap: 0,
      margin: { l: 8, r: 12, t: 8, b: 8 },
    });
  }

  // The list

  const chunkText = (place) => data.chunks[place].filter((part) => part !== null).join(" ");
  for (const question of data.questions) {
    question.words = [question.id, question.text, ...question.expected.map(chunkText)].join(" ").toLowerCase();
  }

  function outcome([base, tuned]) {
    const isHit = (rank) => rank > 0 && rank <= data.topK;
    if (isHit(base) !== isHit(tuned)) return isHit(tuned) ? "won" : "lost";
    return gain([base, tuned]) > 0 ? "up" : "down";
  }

  const isWithin = (rank, [first, last]) => (first === 0 ? rank === 0 : rank >= first && (last === null || rank <= last));

  const changed = () => data.questions.filter(({ found: { [shown.type]: ranks } }) => ranks[0] !== ranks[1]);

  function matching() {
    const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = byId("filter-outcome").value;
    const found = changed().filter((question) => {
      const ranks = question.found[shown.type];
      return (!wanted || outcome(ranks) === wanted)
        && (!shown.ranks || (isWithin(ranks[0], shown.ranks[0]) && isWithin(ranks[1], shown.ranks[1])))
        && words.every((word) => question.words.includes(word));
    });
    const order = (ranks) => (["won", "lost"].includes(outcome(ranks)) ? 2 : 0) + Math.abs(gain(ranks));
    return found.sort((one, other) => order(other.found[shown.type]) - order(one.found[shown.type]));
  }

  function drawList() {
    const found = matching();
    const count = (number) => number.toLocaleString("en");
    byId("list").replaceChildren(...found.slice(0, shown.most).map(item));
    byId("count").textContent = found.length
      ? `${count(found.length)} of ${count(changed().length)} questions` : "No question fits.";
    byId("more").hidden = found.length <= shown.most;
  }

  function item(question) {
    const ranks = question.found[shown.type];
    const become = outcome(ranks);
    const colour = ["won", "up"].includes(become) ? "good" : "bad";
    const children = [
      element("span", { className: `outcome ${colour}`, text: become }),
      element("span", { className: "asked", dir: "auto", text: question.text }),
      element("span", { className: "moved", text: fromTo(ranks) }),
    ];
    const details = element("details", { children: [element("summary", { children })] });
    const type = shown.type;
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(answers(question, type));
    });
    const made = element("li", { children: [details] });
    made.dataset.id = question.id;
    made.dataset.outcome = become;
    return made;
  }

  function answers(question, type) {
    const [, , base, tuned] = question.found[type];
    const relevant = new Set(question.expected);
    const seen = question.seen ? ", seen in training or selection" : "";
    const expected = [
      element("h4", { children: ["Question ", element("bdi", { text: question.id }), `${seen}; relevant:`] }),
      ...question.expected.map((place) => chunk(place, "", true)),
    ];
    const column = (name, places) => element("div", {
      children: [
        element("h4", { children: [element("bdi", { text: name }), ` retrieved${places.length ? "" : " nothing"}`] }),
        element("ol", { children: places.map((place, at) => chunk(place, at + 1, relevant.has(place))) }),
      ],
    });
    const first = element("div", { className: "expected", children: expected });
    return element("div", { className: "answers", children: [first, column(baseName, base), column(tunedName, tuned)] });
  }

  function chunk(place, rank, isRelevant) {
    const [id, text, documentId] = data.chunks[place];
    const source = element("p", {
      className: "source",
      children: [
        rank ? `${rank} · ` : "", element("bdi", { text: id }),
        ...(documentId === null ? [] : [" · ", element("bdi", { text: documentId })]), rank && isRelevant ? " · relevant" : "",
      ],
    });
    const body = element("p", { className: "text", dir: "auto", text: text ?? "(not in the corpus)" });
    return element(rank ? "li" : "div", { className: `chunk${isRelevant ? " relevant" : ""}`, children: [source, body] });
  }

  function chooseRanks(button) {
    const bands = data.movements[shown.type].bands;
    shown.ranks = button ? [bands[button.dataset.down], bands[button.dataset.across]] : null;
    for (const other of document.querySelectorAll(".matrix button")) other.setAttribute("aria-pressed", String(other === button));
    const clear = byId("clear-ranks");
    const end = ([first, last]) => (last === null ? "+" : last === first ? "" : `–${last}`);
    const band = ([first, last]) => (first === 0 ? "not found" : `rank ${first}${end([first, last])}`);
    clear.hidden = !button;
    clear.textContent = button ? `${shown.ranks.map(band).join(" → ")} ×` : "";
    clear.setAttribute("aria-label", `Clear the filter by ranks: ${clear.textContent}`);
    restart();
  }

  function restart() {
    shown.most = STEP;
    drawList();
  }

  function listen() {
    const filters = byId("filters");
    filters.hidden = false;
    filters.addEventListener("submit", (event) => event.preventDefault());
    byId("filter-text").addEventListener("input", restart);
    byId("filter-outcome").addEventListener("change", restart);
    byId("full-texts").addEventListener("change", (event) => byId("list").classList.toggle("whole", event.target.checked));
    byId("clear-ranks").addEventListener("click", () => chooseRanks(null));
    byId("more").addEventListener("click", () => { shown.most += STEP; drawList(); });
    for (const button of document.querySelectorAll(".matrix button")) {
      button.addEventListener("click", () => chooseRanks(button.getAttribute("aria-pressed") === "true" ? null : button));
    }
    dark.addEventListener("change", () => { drawCurve(); drawGain(); });
  }

  addControls();
  listen();
  drawCurve();
  drawGain();
  drawList();
})();
