// Draws a board as a PNG: its JSON, Prometheus's data, Grafana's own components, and a browser without a window.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { build } from 'esbuild';
import sharp from 'sharp';

const run = promisify(execFile);
const here = dirname(fileURLToPath(import.meta.url));
const headerHeight = 48;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prometheus: { type: 'string', default: 'http://127.0.0.1:9090' },
    minutes: { type: 'string', default: '20' },
    end: { type: 'string' }, // Unix time; default: now
    scrape: { type: 'string', default: '5' }, // Prometheus's scrape interval, in seconds
    width: { type: 'string', default: '1600' },
    chromium: { type: 'string', default: 'chromium' },
    var: { type: 'string', multiple: true, default: [] }, // name=value
  },
});
if (positionals.length !== 2) {
  console.error('usage: node picture.mjs [--prometheus URL] [--minutes N] [--end T] [--scrape N] [--var NAME=VALUE] BOARD.json OUT.png');
  process.exit(2);
}
const [boardPath, outPath] = positionals;
const width = Number(flags.width);
const scrape = Number(flags.scrape);
const end = Number(flags.end ?? Math.floor(Date.now() / 1000));
const range = Number(flags.minutes) * 60;

async function ask(path, parameters) {
  const response = await fetch(`${flags.prometheus}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
  const answer = await response.json();
  if (answer.status !== 'success') throw new Error(`${answer.error}\n${parameters.query ?? path}`);
  for (const warning of answer.warnings ?? []) console.warn(`warning: ${warning}`);
  return answer.data;
}

// What the board shows when it is opened, "All" included.
function variablesOf({ templating }) {
  const given = new Map(flags.var.map((pair) => pair.split(/=(.*)/s)));
  const variables = {};
  for (const { name, label, type, current, allValue, includeAll, hide, query } of templating?.list ?? []) {
    const value = [given.get(name) ?? current?.value ?? (includeAll ? '$__all' : query)].flat();
    const all = value[0] === '$__all' || value.length === 0 || value[0] === '';
    variables[name] = {
      label: label || name, shown: hide !== 2 && type !== 'datasource', text: all ? 'All' : value.join(' + '),
      value: all ? allValue || '.+' : value.length > 1 ? `(${value.join('|')})` : value[0],
    };
  }
  return variables;
}

const niceSteps = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600];
const seconds = (text) => Number.parseFloat(text) * ({ s: 1, m: 60, h: 3600 }[/[smh]$/.exec(text)?.[0]] ?? 1);

async function answer(target, panel, variables) {
  const points = panel.maxDataPoints ?? Math.floor((width * panel.gridPos.w) / 24);
  const least = target.interval || panel.interval ? seconds(target.interval || panel.interval) : scrape;
  const interval = Math.max(least, niceSteps.find((step) => step >= range / points) ?? 3600);
  const builtIn = {
    __interval: `${interval}s`, __rate_interval: `${Math.max(interval + scrape, 4 * scrape)}s`, __range: `${range}s`,
    __range_s: range, __interval_ms: interval * 1000, __range_ms: range * 1000,
  };
  const query = target.expr.replace(/\$\{?(\w+)(?::\w+)?\}?/g, (whole, name) => builtIn[name] ?? variables[name]?.value ?? whole);
  const start = end - range - ((end - range) % interval); // a whole number of steps, as Grafana asks
  const { result } = await (target.instant
    ? ask('query', { query, time: end }) : ask('query_range', { query, start, end, step: interval }));
  if (result.length === 0) console.warn(`no series: ${panel.title}: ${query}`);
  const times = Array.from({ length: Math.floor((end - start) / interval) + 1 }, (_, i) => start + i * interval);
  return { refId: target.refId, legendFormat: target.legendFormat, format: target.format, step: interval, times, result };
}

// A collapsed row's panels stand inside it. They are drawn as if it were open.
function unfold(panels) {
  const out = [];
  let down = 0;
  for (const panel of panels.toSorted((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x)) {
    const shifted = (p) => ({ ...p, gridPos: { ...p.gridPos, y: p.gridPos.y + down } });
    out.push(shifted(panel));
    if (panel.type !== 'row' || !panel.collapsed) continue;
    out.push(...panel.panels.map(shifted));
    down += Math.max(...panel.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) - panel.gridPos.y - 1;
  }
  return out;
}

const dashboard = JSON.parse(await readFile(boardPath, 'utf8'));
const variables = variablesOf(dashboard);
const panels = [];
for (const panel of unfold(dashboard.panels)) {
  const targets = (panel.targets ?? []).filter(({ hide, expr }) => !hide && expr);
  panels.push({ panel, answers: await Promise.all(targets.map((target) => answer(target, panel, variables))) });
}
const height = headerHeight + 38 * Math.max(...panels.map(({ panel: { gridPos } }) => gridPos.y + gridPos.h));
const picture = {
  dashboard: { title: dashboard.title }, variables, panels, width, headerHeight, from: (end - range) * 1000, to: end * 1000,
};

const folder = await mkdtemp(join(tmpdir(), 'board-'));
try {
  await build({
    entryPoints: [join(here, 'board.jsx')], bundle: true, outdir: folder, format: 'iife', jsx: 'automatic', logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
    loader: { '.ttf': 'empty', '.woff': 'empty', '.woff2': 'dataurl', '.svg': 'dataurl', '.png': 'dataurl' },
  });
  await mkdir(join(folder, 'build'));
  await symlink(join(here, 'node_modules/@grafana/ui/dist/public/img'), join(folder, 'build/img')); // the icons
  const json = JSON.stringify(picture).replaceAll('<', '\\u003c');
  await writeFile(join(folder, 'board.html'), `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="board.css">
<body style="margin:0;overflow:hidden"><div id="board"></div>
<script>globalThis.__grafana_public_path__ = './'; globalThis.picture = ${json}</script>
<script src="board.js"></script>`);
  const { stderr } = await run(flags.chromium, [
    '--headless', '--no-sandbox', '--disable-gpu', '--allow-file-access-from-files', '--hide-scrollbars',
    `--user-data-dir=${folder}/profile`, '--virtual-time-budget=20000', '--enable-logging=stderr', `--window-size=${width},${height}`,
    `--screenshot=${folder}/board.png`, `file://${folder}/board.html`,
  ]);
  const complaints = stderr.split('\n').filter((line) => line.includes(':CONSOLE'));
  if (complaints.length > 0) throw new Error(complaints.join('\n'));
  // 256 colours do for a board, and a third of the bytes.
  await sharp(join(folder, 'board.png')).png({ palette: true, colours: 256, dither: 0, effort: 10, compressionLevel: 9 }).toFile(outPath);
} finally {
  await rm(folder, { recursive: true, force: true });
}
console.log(`${outPath}: ${panels.length} panels, ${width} x ${height}`);
