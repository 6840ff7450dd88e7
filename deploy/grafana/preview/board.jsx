// Draws one board with Grafana's own components. `picture` (see picture.mjs) is
// the dashboard, its variables' values, and for each panel what Prometheus said.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  EventBusSrv, FieldConfigOptionsRegistry, FieldType, ThemeContext, VizOrientation, applyFieldOverrides, cacheFieldDisplayNames,
  createDataFrame, createTheme, dateTime, getDisplayValueAlignmentFactors, getFieldDisplayValues, renderTextPanelMarkdown,
  standardTransformers, standardTransformersRegistry, transformDataFrame,
} from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, Icon, PanelChrome, PanelContextProvider, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { firstValueFrom } from 'rxjs';
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@fontsource/roboto-mono/400.css';
import { Heatmap } from './heatmap.jsx';

const theme = createTheme({ colors: { mode: 'dark' } });
const utc = 'utc';
const gap = 8; // between panels, as in Grafana
const cell = (picture.width - 2 * gap + gap) / 24; // of the grid, gap included
const rowHeight = 30;
const noop = () => {};

const { from, to } = picture;
const timeRange = { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };

const panelContext = { eventsScope: 'global', eventBus: new EventBusSrv(), sync: () => 0 };

standardTransformersRegistry.setInit(() =>
  [...new Set(Object.values(standardTransformers))].map((t) => ({ id: t.id, name: t.name, transformation: () => Promise.resolve(t) })));

// What a new panel of the kind has where its JSON says nothing.
const customDefaults = {
  timeseries: {
    drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', spanNulls: false,
    showPoints: 'auto', pointSize: 5, axisPlacement: 'auto', axisColorMode: 'text', barAlignment: 0, barWidthFactor: 0.6,
    scaleDistribution: { type: 'linear' }, stacking: { mode: 'none', group: 'A' },
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
};

const replaceVariables = (text) => (typeof text !== 'string' ? text
  : text.replace(/\$\{?(\w+)(?::\w+)?\}?/g, (whole, name) => picture.variables[name]?.text ?? whole));

// The properties that a panel's defaults and overrides use: Grafana's own list is part of its application, not of its
// library.
function propertiesOf({ defaults, overrides }) {
  const ids = new Set(Object.keys(defaults).filter((key) => key !== 'custom'));
  for (const key of Object.keys(defaults.custom)) ids.add(`custom.${key}`);
  for (const rule of overrides) for (const property of rule.properties) ids.add(property.id);
  return new FieldConfigOptionsRegistry(() => [...ids].map((id) => ({
    id, name: id, path: id.replace(/^custom\./, ''), isCustom: id.startsWith('custom.'),
    process: (value) => value, shouldApply: () => true, override: noop, editor: noop, settings: {},
  })));
}

const number = (text) => (text === 'NaN' ? null : Number(text.replace('Inf', 'Infinity')));
const legendOf = (format, labels) =>
  format && format !== '__auto' ? format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name) => labels[name] ?? '') : undefined;

function framesOf(answer, several) {
  if (answer.format === 'table') return [tableFrame(answer, several)];
  return answer.result.map(({ metric, values, value }) => {
    const { __name__: name, ...labels } = metric;
    const points = new Map(values ?? [value]);
    const times = values ? answer.times : [value[0]];
    return createDataFrame({
      refId: answer.refId,
      fields: [
        { name: 'Time', type: FieldType.time, config: { interval: answer.step * 1000 }, values: times.map((at) => at * 1000) },
        {
          name: name ?? 'Value', type: FieldType.number, labels, config: { displayNameFromDS: legendOf(answer.legendFormat, metric) },
          values: times.map((at) => number(points.get(at) ?? 'NaN')), // where there is nothing, a curve has a gap
        },
      ],
    });
  });
}

function tableFrame({ refId, result }, several) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const last = ({ value, values }) => value ?? values.at(-1);
  return createDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: result.map((row) => last(row)[0] * 1000) },
      ...labels.map((name) => ({
        name, type: FieldType.string, config: {}, values: result.map(({ metric }) => metric[name] ?? ''),
      })),
      {
        name: several ? `Value #${refId}` : 'Value', type: FieldType.number, config: {},
        values: result.map((row) => number(last(row)[1])),
      },
    ],
  });
}

async function dataOf(panel, answers) {
  let frames = answers.flatMap((answer) => framesOf(answer, answers.length > 1));
  const steps = (panel.transformations ?? []).filter(({ disabled }) => !disabled);
  if (steps.length > 0) {
    frames = await firstValueFrom(transformDataFrame(steps, frames, { interpolate: replaceVariables }));
  }
  const fieldConfig = { overrides: [], ...panel.fieldConfig };
  fieldConfig.defaults = { ...fieldConfig.defaults, custom: { ...customDefaults[panel.type], ...fieldConfig.defaults?.custom } };
  fieldConfig.defaults.color ??= { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' };
  fieldConfig.defaults.thresholds ??= { mode: 'absolute', steps: [{ value: null, color: 'green' }, { value: 80, color: 'red' }] };
  frames = applyFieldOverrides({
    data: frames, fieldConfig, fieldConfigRegistry: propertiesOf(fieldConfig), replaceVariables, theme, timeZone: utc,
  });
  cacheFieldDisplayNames(frames);
  return frames;
}

const displayValues = (panel, data, sparkline) => getFieldDisplayValues({
  data, theme, timeZone: utc, sparkline, replaceVariables,
  fieldConfig: { overrides: [], ...panel.fieldConfig, defaults: { ...panel.fieldConfig?.defaults } },
  reduceOptions: { calcs: ['lastNotNull'], values: false, ...panel.options?.reduceOptions },
});

function Stat({ panel, data, width, height }) {
  const options = { graphMode: 'area', colorMode: 'value', justifyMode: 'auto', textMode: 'auto', wideLayout: true, ...panel.options };
  const values = displayValues(panel, data, options.graphMode !== 'none');
  const textMode = options.textMode === 'auto' ? (values.length === 1 ? 'value' : 'value_and_name') : options.textMode;
  return (
    <VizRepeater
      source={values} getValues={() => values} width={width} height={height} itemSpacing={3} renderCounter={0} minVizHeight={32}
      orientation={options.orientation ?? VizOrientation.Auto}
      renderValue={({ value, width, height, count }) => (
        <BigValue
          value={value.display} count={count} sparkline={value.sparkline} colorMode={options.colorMode} graphMode={options.graphMode}
          justifyMode={options.justifyMode} textMode={textMode} text={options.text} wideLayout={options.wideLayout}
          width={width} height={height} theme={theme}
        />
      )}
    />
  );
}

function Bars({ panel, data, width, height }) {
  const options = { displayMode: 'gradient', valueMode: 'color', namePlacement: 'auto', showUnfilled: true, ...panel.options };
  const values = displayValues(panel, data, false);
  return (
    <VizRepeater
      source={values} getValues={() => values} width={width} height={height} itemSpacing={10} renderCounter={0}
      minVizWidth={8} minVizHeight={16} orientation={options.orientation ?? VizOrientation.Horizontal}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width, height, orientation, alignmentFactors }) => (
        <BarGauge
          value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
          text={options.text} orientation={orientation} displayMode={options.displayMode} valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement} showUnfilled={options.showUnfilled} alignmentFactors={alignmentFactors}
          width={width} height={height} theme={theme} itemSpacing={10} lcdCellWidth={12}
        />
      )}
    />
  );
}

function Curves({ panel, data, width, height }) {
  const legend = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [], ...panel.options?.legend };
  return (
    <PanelContextProvider value={panelContext}>
      <TimeSeries
        frames={data} width={width} height={height} timeRange={timeRange} timeZone={utc} legend={legend} options={panel.options}
      />
    </PanelContextProvider>
  );
}

function Text({ panel }) {
  const html = renderTextPanelMarkdown(replaceVariables(panel.options.content));
  return <div className="markdown-html" style={{ padding: gap }} dangerouslySetInnerHTML={{ __html: html }} />;
}

const Rows = ({ panel, data, width, height }) => (
  <TableNG
    data={data[0]} width={width} height={height} noHeader={panel.options?.showHeader === false} cellHeight={panel.options?.cellHeight}
    sortBy={panel.options?.sortBy} timeRange={timeRange} structureRev={1} enableVirtualization={false}
  />
);

const kinds = { stat: Stat, bargauge: Bars, timeseries: Curves, table: Rows, text: Text, heatmap: Heatmap };

const empty = (data) => data.every(({ length }) => length === 0);

function Panel({ panel, data, style }) {
  const Kind = kinds[panel.type];
  const content = (width, height) => {
    if (!Kind) return <p>{`A panel of the kind ${panel.type} cannot be drawn here.`}</p>;
    if (panel.type !== 'text' && empty(data)) {
      const style = { textAlign: 'center', paddingTop: height / 2 - 16, color: theme.colors.text.secondary };
      return <p style={style}>{panel.fieldConfig?.defaults?.noValue ?? 'No data'}</p>;
    }
    return <Kind panel={panel} data={data} width={width} height={height} theme={theme} timeRange={timeRange} />;
  };
  return (
    <div style={{ position: 'absolute', ...style }}>
      <PanelChrome
        title={replaceVariables(panel.title)} description={panel.description} width={style.width} height={style.height}
        displayMode={panel.transparent ? 'transparent' : 'default'} padding={panel.type === 'table' ? 'none' : undefined}
      >
        {content}
      </PanelChrome>
    </div>
  );
}

function Row({ panel, style }) {
  return (
    <div style={{ position: 'absolute', ...style, ...theme.typography.h5, display: 'flex', alignItems: 'center', gap: 6 }}>
      <Icon name="angle-down" />{replaceVariables(panel.title)}
    </div>
  );
}

const place = ({ x, y, w, h }) => ({
  left: gap + x * cell, top: y * (rowHeight + gap), width: w * cell - gap, height: h * (rowHeight + gap) - gap,
});

function Header() {
  const { border, background, text } = theme.colors;
  const pill = { border: `1px solid ${border.medium}`, borderRadius: 2, padding: '3px 8px', background: background.primary };
  const time = (at) => dateTime(at).utc().format('YYYY-MM-DD HH:mm:ss');
  return (
    <div style={{ padding: gap, display: 'flex', alignItems: 'center', gap, height: picture.headerHeight, fontSize: 13 }}>
      <span style={{ ...theme.typography.h4, marginRight: 8 }}>{picture.dashboard.title}</span>
      {Object.values(picture.variables).filter(({ shown }) => shown).map(({ label, text: value }) => (
        <span key={label} style={pill}><span style={{ color: text.secondary }}>{label}</span>&ensp;{value}</span>
      ))}
      <span style={{ flex: 1 }} />
      <span style={{ color: text.secondary }}>preview: drawn with Grafana’s own components from the board’s JSON</span>
      <span style={pill}>{`${time(from)} to ${time(to)} UTC`}</span>
    </div>
  );
}

async function main() {
  // A canvas does not wait for its fonts.
  const fonts = ['400 12px Inter', '500 14px Inter', '400 12px "Roboto Mono"'];
  await Promise.all(fonts.map((font) => document.fonts.load(font)));
  const panels = await Promise.all(picture.panels.map(async ({ panel, answers }) => ({
    panel, data: panel.type === 'row' ? [] : await dataOf(panel, answers),
  })));
  createRoot(document.getElementById('board')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles hackNoBackdropBlur={true} />
      <Header />
      <div style={{ position: 'relative' }}>
        {panels.map(({ panel, data }) => {
          const Kind = panel.type === 'row' ? Row : Panel;
          return <Kind key={panel.id} panel={panel} data={data} style={place(panel.gridPos)} />;
        })}
      </div>
    </ThemeContext.Provider>,
  );
}

main();
