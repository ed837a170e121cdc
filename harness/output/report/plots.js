// The plots: all networks and the front of one cost, and the fronts of all latencies side by side.

const SAMPLE = 1500; // points of a cloud that a browser without WebGL draws without delay
const HAS_WEBGL = (() => {
  const canvas = document.createElement("canvas");
  try {
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  } catch {
    return false;
  }
})();
const PLOT_SETTINGS = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], // among the others is one that opens a web page
  showSendToCloud: false,
  plotlyServerURL: "",
  toImageButtonOptions: { format: "svg", filename: "harness-report" }, // lines stay lines on paper
};

function colors() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of("ink"), muted: of("muted"), line: of("line"), ground: of("ground"), predicted: of("predicted"),
    measured: of("measured"), dimmed: of("dimmed"), front: of("front"), star: of("star"),
  };
}

// Plotly reads some markup in titles; a name must not be read as such.
function plotText(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function axis(title, range, palette, more = {}) {
  return {
    title: { text: plotText(title), standoff: 10 }, range, color: palette.muted, gridcolor: palette.line, zeroline: false,
    linecolor: palette.line, ticks: "outside", tickcolor: palette.line, ticklen: 4, fixedrange: false, automargin: true, ...more,
  };
}

function padded(least, most) {
  const margin = 0.03 * (most - least) || 0.03 * Math.abs(most) || 1;
  return [least - margin, most + margin];
}

function layout(cost, table, limit, palette, { height, size, y }) {
  const shapes = [];
  if (limit !== null) {
    const x = limit / cost.scale;
    const line = { color: palette.ink, width: 1, dash: "dash" };
    shapes.push({ type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line });
  }
  return {
    height, shapes, showlegend: false, hovermode: "closest", hoverdistance: 14,
    margin: { l: 56, r: 12, t: 12, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size, color: palette.ink }, uirevision: cost.name,
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: palette.muted, activecolor: palette.ink },
    xaxis: axis(cost.axis, padded(cost.least / cost.scale, cost.most / cost.scale), palette, { nticks: 8 }),
    yaxis: axis(table.accuracy.axis, y, palette),
  };
}

// Return a trace of some networks, and remember which they are for whoever points at them.
function trace(table, cost, indices, more) {
  const xs = Float64Array.from(indices, (i) => cost.values[i] / cost.scale);
  const ys = Float64Array.from(indices, (i) => table.accuracy.values[i]);
  return { x: xs, y: ys, type: "scatter", mode: "markers", hoverinfo: "none", indices, ...more };
}

function frontTrace(table, cost, indices, palette, color, markers) {
  return trace(table, cost, indices, {
    mode: markers ? "lines+markers" : "lines",
    line: { shape: "hv", color, width: markers ? 2 : 1.5 },
    marker: { color, size: 6, line: { color: palette.ground, width: 1 } },
    hoverinfo: markers ? "none" : "skip",
  });
}

function starTrace(table, cost, best, palette, size) {
  const known = best.slice(0, 1).filter((i) => !Number.isNaN(cost.values[i]));
  return trace(table, cost, known, {
    marker: { symbol: "star", size, color: palette.star, line: { color: palette.ink, width: 1 } },
  });
}

// Return the clouds of networks: within and outside the limits, predicted (or computed) and measured, with how many are drawn.
function clouds(table, cost, order, meets, palette) {
  const parts = { outside: [], outsideMeasured: [], inside: [], insideMeasured: [] };
  for (const i of order) {
    const place = meets[i] ? "inside" : "outside";
    parts[cost.measured && cost.measured[i] ? `${place}Measured` : place].push(i);
  }
  const thin = (indices) => {
    const step = HAS_WEBGL ? 1 : Math.ceil(indices.length / SAMPLE);
    return step <= 1 ? indices : indices.filter((_, place) => place % step === 0);
  };
  const looks = {
    outside: { color: palette.dimmed, size: 3, opacity: 0.5 },
    inside: { color: palette.predicted, size: 3, opacity: 0.45 },
    outsideMeasured: { color: palette.dimmed, size: 7, symbol: "diamond", opacity: 0.9 },
    insideMeasured: { color: palette.measured, size: 7, symbol: "diamond", opacity: 0.9 },
  };
  const type = HAS_WEBGL ? "scattergl" : "scatter";
  const drawn = Object.entries(looks).map(([name, marker]) =>
    trace(table, cost, thin(parts[name]), { type, marker: { ...marker, line: { width: 0 } } }),
  );
  return { drawn, count: drawn.reduce((sum, one) => sum + one.indices.length, 0) };
}

// Draw the main plot. Return how many networks were drawn.
async function drawMain(table, cost, limit, choice, order) {
  const palette = colors();
  const { drawn, count } = clouds(table, cost, order, choice.meets, palette);
  const y = padded(table.accuracy.least, table.accuracy.most);
  const height = window.innerWidth < 700 ? 340 : 500;
  const traces = [
    ...drawn,
    frontTrace(table, cost, choice.front, palette, palette.front, true),
    starTrace(table, cost, choice.best, palette, 18),
  ];
  const target = byId("plot");
  await Plotly.react(target, traces, layout(cost, table, limit, palette, { height, size: 13, y }), PLOT_SETTINGS);
  followPointer(table, target);
  byId("plot").setAttribute(
    "aria-label",
    `${table.accuracy.axis} against ${cost.axis} of ${countText(count, "network")}, ` +
      `with a Pareto front of ${choice.front.length}; the tables below hold the numbers`,
  );
  return count;
}

// Draw the fronts of all latencies, each with the front of all networks in gray.
async function drawPanels(table, panels, choice) {
  const palette = colors();
  const accuracy = table.accuracy.values;
  const ends = panels.flatMap(({ whole, front }) => [...whole, ...front].map((i) => accuracy[i]));
  const y = padded(Math.min(...ends), Math.max(...ends));
  for (const { cost, target, whole, front, limit } of panels) {
    const traces = [
      frontTrace(table, cost, whole, palette, palette.muted, false),
      frontTrace(table, cost, front, palette, palette.front, true),
      starTrace(table, cost, choice.best, palette, 14),
    ];
    const shape = layout(cost, table, limit, palette, { height: 260, size: 12, y });
    await Plotly.react(target, traces, shape, { ...PLOT_SETTINGS, displayModeBar: false });
    followPointer(table, target);
  }
}

// Show what is known of the network that is pointed at, beside the pointer.
function followPointer(table, target) {
  if (target.dataset.followed) return;
  target.dataset.followed = "yes";
  const tip = byId("tip");
  target.on("plotly_hover", ({ points, event }) => {
    const index = points[0].data.indices[points[0].pointNumber];
    const rows = [table.accuracy, ...table.shown].map((accuracy) => [
      accuracyTitle(accuracy),
      accuracyText(accuracy.values[index]),
    ]);
    for (const cost of table.costs) {
      const details = [intervalText(cost, index), sourceText(table, cost, index)].filter(Boolean).join("; ");
      rows.push([costName(cost), costText(cost, cost.values[index]) + (details ? ` (${details})` : "")]);
    }
    tip.replaceChildren(
      element("code", {}, networkText(table.space, index)),
      element("dl", {}, ...rows.flatMap(([label, text]) => [element("dt", {}, label), element("dd", {}, text)])),
    );
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const beside = event.clientX + 16 > room ? event.clientX - tip.offsetWidth - 16 : event.clientX + 16;
    tip.style.left = `${Math.max(8, Math.min(beside, room))}px`;
    tip.style.top = `${Math.max(8, Math.min(event.clientY + 12, window.innerHeight - tip.offsetHeight - 8))}px`;
  });
  target.on("plotly_unhover", () => {
    tip.hidden = true;
  });
}
