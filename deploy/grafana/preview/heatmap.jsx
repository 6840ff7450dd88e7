// Grafana's heatmap is part of its application, not of its library: here it is drawn on the library's plot.
import React, { useMemo } from 'react';
import { formattedValueToString, getValueFormat } from '@grafana/data';
import { UPlotChart, UPlotConfigBuilder } from '@grafana/ui';
import * as chromatic from 'd3-scale-chromatic';

const legendHeight = 28;

// From cumulative buckets over time to what fell into each.
function cellsOf(frames) {
  const numbers = (frame) => frame.fields.find(({ type }) => type === 'number');
  const bound = (frame) => Number(numbers(frame).labels.le.replace('+Inf', 'Infinity'));
  const tops = frames.map((frame) => ({ frame, le: bound(frame) })).sort((a, b) => a.le - b.le);
  const times = [...new Set(frames.flatMap(({ fields }) => fields[0].values))].sort((a, b) => a - b);
  const sums = tops.map(({ frame }) => new Map(frame.fields[0].values.map((at, i) => [at, numbers(frame).values[i]])));
  const upTo = (row, at) => sums[row]?.get(at) ?? 0;
  const cells = tops.flatMap((_, row) => times.map((at) => ({ at, row, count: upTo(row, at) - upTo(row - 1, at) })));
  return { times, tops: tops.map(({ le }) => le), cells: cells.filter(({ count }) => count > 1e-9) };
}

function colours({ scheme = 'Oranges', steps = 64, reverse = false } = {}) {
  const shade = chromatic[`interpolate${scheme}`];
  const palette = Array.from({ length: steps }, (_, i) => shade(i / (steps - 1)));
  return reverse ? palette : palette.reverse(); // on a dark ground the bright end is the high one
}

export function Heatmap({ panel, data, width, height, theme, timeRange }) {
  const { times, tops, cells } = useMemo(() => cellsOf(data), [data]);
  const palette = colours(panel.options?.color);
  const counts = cells.map(({ count }) => count);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const colourOf = (count) => palette[Math.floor(((count - least) / (most - least || 1)) * (palette.length - 1))];
  const label = (unit) => (value) => (value === Infinity ? '+Inf' : formattedValueToString(getValueFormat(unit ?? 'short')(value)));

  const config = useMemo(() => {
    const builder = new UPlotConfigBuilder('utc');
    const range = [timeRange.from.valueOf(), timeRange.to.valueOf()];
    builder.addScale({ scaleKey: 'x', isTime: true, orientation: 0, direction: 1, range: () => range });
    builder.addAxis({ scaleKey: 'x', isTime: true, placement: 'bottom', timeZone: 'utc', theme, grid: { show: false } });
    builder.addScale({ scaleKey: 'y', orientation: 1, direction: 1, range: () => [0, tops.length] });
    builder.addAxis({
      scaleKey: 'y', placement: 'left', theme, grid: { show: false },
      splits: tops.map((_, row) => row + 1), values: tops.map(label(panel.options?.yAxis?.unit)),
    });
    builder.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null, pointsBuilder: () => {}, lineColor: 'transparent' });
    builder.addHook('draw', (plot) => {
      const space = panel.options?.cellGap ?? 1;
      const step = Math.min(...times.slice(1).map((at, i) => at - times[i]));
      for (const { at, row, count } of cells) {
        const left = plot.valToPos(at - step, 'x', true);
        const top = plot.valToPos(row + 1, 'y', true);
        plot.ctx.fillStyle = colourOf(count);
        plot.ctx.fillRect(
          left, top, Math.max(1, plot.valToPos(at, 'x', true) - left - space), plot.valToPos(row, 'y', true) - top - space,
        );
      }
    });
    return builder;
  }, [cells]);

  const shown = panel.options?.legend?.show ?? true;
  const value = label(panel.options?.cellValues?.unit);
  return (
    <>
      <UPlotChart
        config={config} data={[times, times.map(() => null)]} width={width} height={height - (shown ? legendHeight : 0)}
      />
      {shown && (
        <div style={{ display: 'flex', alignItems: 'center', gap: 8, height: legendHeight, fontSize: 12 }}>
          {value(Math.round(least))}
          <div style={{ width: 200, height: 8, background: `linear-gradient(to right, ${palette.join(',')})` }} />
          {value(Math.round(most))}
        </div>
      )}
    </>
  );
}
