// The inputs of the limits: for each cost a number and a slider that follow each other, and the switch for intervals.

const SLIDER_STEPS = 1000;

// Show the limits' inputs. `onChange` is told a cost's place and its limit in the cost's unit, null for none.
function fillLimits(table, limits, onChange) {
  byId("limits-form").replaceChildren(...table.costs.map((cost, place) => limitRow(table, cost, place, limits[place], onChange)));
  byId("limits-form").addEventListener("submit", (event) => event.preventDefault());
}

function emptyLimits(table) {
  table.costs.forEach((_, place) => {
    byId(`limit-${place}`).value = "";
    byId(`slider-${place}`).value = SLIDER_STEPS;
  });
}

// Show the switch where there are intervals, and say of which coverage they are.
function fillSwitch(table) {
  const sure = table.costs.filter((cost) => cost.high);
  byId("upper-row").hidden = sure.length === 0;
  const coverages = [...new Set(sure.map((cost) => percentText(cost.coverage)))].join(" or ");
  byId("upper-note").textContent = `of ${sure.map(costName).join(", ")}: intervals of ${coverages}`;
}

// Build the inputs of one cost: a number and a slider that follow each other. Empty, or the slider at its end: no limit.
function limitRow(table, cost, place, limit, onChange) {
  const number = element("input", {
    type: "number", id: `limit-${place}`, step: "any", placeholder: "no limit", inputmode: "decimal",
  });
  const slider = element("input", {
    type: "range", id: `slider-${place}`, min: 0, max: SLIDER_STEPS, step: 1, "aria-label": `${costName(cost)}, upper limit`,
  });
  const span = cost.most - cost.least || 1;
  const stepOf = (position) => {
    const share = position === null ? 1 : (position - cost.least) / span;
    return Math.round(SLIDER_STEPS * Math.min(1, Math.max(0, share)));
  };
  slider.value = stepOf(limit);
  number.value = limit === null ? "" : String(Number((limit / cost.scale).toPrecision(12)));
  number.addEventListener("input", () => {
    if (number.validity.badInput) return; // of "8ms" the 8 holds; what is no number is outlined
    const moved = number.value === "" ? null : typedNumber(number.value, cost.scale);
    slider.value = stepOf(moved);
    onChange(place, moved);
  });
  slider.addEventListener("input", () => {
    const step = Number(slider.value);
    const shown = step === SLIDER_STEPS ? null : roundedLimit(cost, cost.least + (span * step) / SLIDER_STEPS);
    number.value = shown === null ? "" : String(shown);
    onChange(place, shown === null ? null : typedNumber(String(shown), cost.scale));
  });
  const label = element("label", { for: `limit-${place}` }, costName(cost));
  const known = cost.known === table.networks ? "" : `; known of ${countText(cost.known, "network")}`;
  const range = cost.known ? `${costNumber(cost, cost.least)} to ${costText(cost, cost.most)}${known}` : "not known of any network";
  return element(
    "div",
    { class: "limit" },
    label,
    slider,
    element("span", { class: "entry" }, "≤ ", number, element("span", { class: "unit" }, cost.sign)),
    element("small", {}, range),
  );
}

// Return a typed number times a power of ten, without an error of rounding where it can be had: 2.3 M is 2300000.
function typedNumber(text, scale) {
  const shifted = Number(`${text}e${Math.round(Math.log10(scale))}`);
  return Number.isNaN(shifted) ? Number(text) * scale : shifted;
}
