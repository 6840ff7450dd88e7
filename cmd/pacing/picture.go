package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"crier/internal/pacing"
)

// A picture is 800 by 360 pixels where an inch has 96 of them.
const (
	width  = 800 * vg.Inch / 96
	height = 360 * vg.Inch / 96
)

// The colours can be told apart by people who see few of them, and in grey.
var (
	blue  = color.RGBA{R: 0x5b, G: 0x9b, B: 0xd5, A: 0xff}
	red   = color.RGBA{R: 0xc0, G: 0x1f, B: 0x1f, A: 0xff}
	amber = color.RGBA{R: 0xf5, G: 0xb9, B: 0x41, A: 0xff}
	ink   = color.RGBA{R: 0x22, G: 0x22, B: 0x22, A: 0xff}
	light = color.RGBA{R: 0xe4, G: 0xe4, B: 0xe4, A: 0xff}
)

// paint draws what happened in a run: as areas, one upon the other, what was
// accepted, refused and lost, so that their upper edge is what was offered; and
// as a line what the link would have allowed.
func paint(r *pacing.Result) (*plot.Plot, error) {
	unit, stretch := scale(r.Scenario)
	series, length := r.Series(unit, stretch), r.Scenario.Length.Seconds()
	p := plot.New()
	p.Title.Text = r.Scenario.About
	p.X.Label.Text = "seconds"
	p.Y.Label.Text = string(unit) + " a second"
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = light, light
	p.Add(grid)
	offered := func(s pacing.Second) float64 { return s.Offered }
	for _, l := range []layer{
		{"no connection", amber, 0, offered},
		{"refused", red, 0, func(s pacing.Second) float64 { return s.Accepted + s.Refused }},
		{"accepted", blue, 0, func(s pacing.Second) float64 { return s.Accepted }},
		{"offered", nil, 0.5, offered},
		{"allowed", nil, 1.5, func(s pacing.Second) float64 { return s.Allowed }},
	} {
		if l.fill == amber && len(r.Scenario.Link.Outages) == 0 {
			continue
		}
		points := make(plotter.XYs, 0, len(series)+1)
		for i, s := range series {
			points = append(points, plotter.XY{X: float64(i) * stretch.Seconds(), Y: l.value(s) / stretch.Seconds()})
		}
		points = append(points, plotter.XY{X: length, Y: points[len(points)-1].Y})
		if err := l.addTo(p, points); err != nil {
			return nil, err
		}
	}
	p.X.Min, p.X.Max, p.Y.Min = 0, length, 0
	for i, s := range series { // room for the legend, which is at the right
		top := max(s.Offered, s.Allowed) / stretch.Seconds() * 1.05
		if i > len(series)*3/4 {
			top *= 1.35
		}
		p.Y.Max = max(p.Y.Max, top)
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks(p.X.Max), ticks(p.Y.Max)
	shape(p)
	return p, nil
}

// layer is one line of a picture, or with a fill the area below it.
type layer struct {
	name  string
	fill  color.Color
	width float64 // of the line in points
	value func(pacing.Second) float64
}

// addTo adds the layer to the picture and to its legend.
func (l layer) addTo(p *plot.Plot, points plotter.XYs) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.StepStyle, line.FillColor = plotter.PostStep, l.fill
	line.LineStyle = draw.LineStyle{Color: ink, Width: vg.Points(l.width)}
	if l.width > 1 {
		line.Dashes = []vg.Length{vg.Points(5), vg.Points(2)}
	}
	p.Add(line)
	p.Legend.Add(l.name, line)
	return nil
}

// scale is in what, and in stretches of which length, a run is drawn: in the
// unit of its longest window, of which a fifth is told from the next, but no
// less than a second.
func scale(s pacing.Scenario) (pacing.Unit, time.Duration) {
	unit, window := pacing.Calls, time.Second
	for _, l := range s.Link.Limits {
		if l.Window > window {
			unit, window = l.Unit, l.Window
		}
	}
	return unit, max(time.Second, window/5)
}

// ticks are round numbers from 0 on, five to ten of them.
func ticks(most float64) plot.ConstantTicks {
	step := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, times := range []float64{2, 5, 10} {
		if most/step > 10 {
			step = math.Pow(10, math.Floor(math.Log10(most/5))) * times
		}
	}
	var list plot.ConstantTicks
	for at := 0.0; at <= most; at += step {
		list = append(list, plot.Tick{Value: at, Label: strconv.FormatFloat(at, 'g', 6, 64)})
	}
	return list
}

// shape gives all texts a font without serifs, and the legend its place.
func shape(p *plot.Plot) {
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant, f.Size = "Sans", vg.Points(10)
	}
	p.Title.TextStyle.Font.Size = vg.Points(11)
	p.Title.Padding = vg.Points(6)
	p.Legend.Top, p.Legend.XOffs, p.Legend.YOffs = true, vg.Points(-6), vg.Points(-4)
	p.Legend.Padding, p.Legend.ThumbnailWidth = vg.Points(2), vg.Points(18)
}

// drawFile writes the picture of a run as an SVG file.
func drawFile(r *pacing.Result, path string) error {
	p, err := paint(r)
	if err != nil {
		return fmt.Errorf("draw %s: %w", r.Scenario.Name, err)
	}
	canvas := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(canvas), 4, -8, 4, -6)) // some margin
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return fmt.Errorf("draw %s: %w", r.Scenario.Name, err)
	}
	// Where that font is not installed, those that are as wide keep texts in their place.
	svg := bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, svg, 0o644) //nolint:gosec // pictures are for everybody
}
