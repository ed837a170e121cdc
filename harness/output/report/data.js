// The table that the page is about: columns decoded from base64 into typed arrays, and names of networks from their index.

// Return a column's numbers, Float64Array (networks), NaN where unknown.
function decodeColumn(column) {
  const bytes = bytesOf(column.data);
  if (column.kind === "float64") return new Float64Array(bytes.buffer);
  if (column.kind === "float32") return Float64Array.from(new Float32Array(bytes.buffer));
  const table = new Float64Array(bytesOf(column.table).buffer);
  const codes = column.kind === "codes8" ? bytes : new Uint16Array(bytes.buffer);
  return Float64Array.from(codes, (code) => table[code]);
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function readTable(text) {
  const table = JSON.parse(text);
  const optional = (column) => (column === null ? null : decodeColumn(column));
  table.accuracy.values = decodeColumn(table.accuracy.values);
  table.accuracy.present = Uint8Array.from(table.accuracy.values, (value) => !Number.isNaN(value));
  table.supported = Uint8Array.from(decodeColumn(table.supported));
  table.eligible = table.accuracy.present.map((present, place) => present & table.supported[place]);
  Object.assign(table.accuracy, extent(table.accuracy.values));
  table.accuracy.seedCounts = decodeColumn(table.accuracy.seed_counts);
  for (const further of table.shown) further.values = decodeColumn(further.values);
  for (const cost of table.costs) {
    for (const key of ["values", "low", "high", "measured", "grades"]) cost[key] = optional(cost[key]);
    Object.assign(cost, extent(cost.values));
    Object.assign(cost, scaleOf(cost));
  }
  table.networks = table.space.networks;
  table.isPart = table.space.names !== null;
  table.isRanked = !table.isPart || table.accuracy.known > 0; // else there is nothing to choose by
  table.noun = table.isPart ? "known network" : "network";
  table.anySynthetic = [table.accuracy, ...table.shown, ...table.costs].some((one) => one.synthetic);
  return table;
}

// Return the smallest and largest number and how many there are, NaN left out; zeros where there is none.
function extent(values) {
  let least = Infinity, most = -Infinity, known = 0;
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    known += 1;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return known ? { least, most, known } : { least: 0, most: 0, known };
}

// Return by what a cost's numbers are divided to be read, and the sign of that, which constraints use as well.
function scaleOf(cost) {
  if (cost.unit === "bytes") return { scale: 1e6, sign: "MB" };
  if (cost.unit === "" && cost.least >= 1e5) return { scale: 1e6, sign: "M" };
  return { scale: 1, sign: cost.unit };
}

// Return a network's canonical index as text. Of a space too large to list, or of several names a network, the page has some rows.
function networkIndex(space, row) {
  return space.indices ? space.indices[row] : String(row);
}

// Return a network's text: its blocks from the first choice on, whose digit of the index changes fastest.
function networkText(space, row) {
  if (space.names) return space.names[row];
  let rest = Number(networkIndex(space, row));
  const blocks = space.choices.map((places) => {
    const block = space.blocks[places[rest % places.length]];
    rest = Math.floor(rest / places.length);
    return block;
  });
  return blocks.join("/");
}
