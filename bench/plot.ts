// A line through points on logarithmic axes, as SVG: on these a straight line of slope 1 is linear growth, and is drawn for comparison.

export interface Plot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

const size = { width: 640, height: 420, left: 70, right: 20, top: 40, bottom: 50 } as const;

export function linePlot({ title, x, y, points }: Plot): string {
  const across = axis(
    points.map((point) => point.x),
    size.left,
    size.width - size.right,
  );
  const up = axis(
    points.map((point) => point.y),
    size.height - size.bottom,
    size.top,
  );
  const at = (point: { x: number; y: number }): string =>
    `${across.at(point.x).toFixed(1)},${up.at(point.y).toFixed(1)}`;
  const last = points.at(-1) ?? { x: 1, y: 1 };
  // Clipped where it leaves the plot.
  const linearFromX = Math.max(across.least, (up.least * last.x) / last.y);
  const linear = [{ x: linearFromX, y: (last.y * linearFromX) / last.x }, last];
  const labels = [
    ...across.ticks.map(
      (value) =>
        `<text x="${across.at(value)}" y="${size.height - size.bottom + 18}" text-anchor="middle">${value}</text>`,
    ),
    ...up.ticks.map(
      (value) => `<text x="${size.left - 8}" y="${up.at(value) + 4}" text-anchor="end">${value}</text>`,
    ),
  ];
  const lines = up.ticks.map(
    (value) =>
      `<line x1="${size.left}" x2="${size.width - size.right}" y1="${up.at(value)}" y2="${up.at(value)}" stroke="#ddd"/>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${size.width}" height="${size.height}" fill="#fff"/>`,
    `<text x="${size.width / 2}" y="22" text-anchor="middle" font-size="15">${title}</text>`,
    ...lines,
    ...labels,
    `<text x="${size.width / 2}" y="${size.height - 10}" text-anchor="middle">${x}</text>`,
    `<text transform="rotate(-90)" x="${-size.height / 2}" y="16" text-anchor="middle">${y}</text>`,
    `<polyline points="${linear.map(at).join(' ')}" fill="none" stroke="#999" stroke-dasharray="5 4"/>`,
    `<polyline points="${points.map(at).join(' ')}" fill="none" stroke="#06c" stroke-width="2"/>`,
    ...points.map((point) => `<circle cx="${across.at(point.x)}" cy="${up.at(point.y)}" r="3" fill="#06c"/>`),
    `<text x="${size.width - size.right}" y="${size.height - size.bottom - 8}" text-anchor="end" fill="#777">dashed: linear</text>`,
    '</svg>\n',
  ].join('\n');
}

interface Axis {
  readonly least: number;
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** From a power of ten below the values to one above them. */
function axis(values: readonly number[], from: number, to: number): Axis {
  const least = Math.floor(Math.log10(Math.min(...values)));
  const most = Math.max(least + 1, Math.ceil(Math.log10(Math.max(...values))));
  return {
    least: 10 ** least,
    ticks: Array.from({ length: most - least + 1 }, (_, index) => Number(`1e${least + index}`)),
    at: (value) => from + ((Math.log10(value) - least) / (most - least)) * (to - from),
  };
}
