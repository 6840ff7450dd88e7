// Command pacing plays the scenarios of package pacing: the gate against
// scripted links in virtual time. It prints how much of each quota was used
// and how many calls were refused, beside the bands that these have to keep to,
// and draws what happened as SVG pictures.
//
// Invariant: the same seed prints the same table and draws the same pictures,
// byte by byte; and it exits with 0 only if all bands are kept.
//
// It calls no API, and its seconds are those of the simulation: it takes as
// long as the gate's scripts do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"crier/internal/pacing"
	"crier/internal/redisconn"
	"crier/internal/settings"
)

// options are the flags.
type options struct {
	Version kong.VersionFlag `name:"version" help:"Show the version."`

	Scenario []string `placeholder:"NAME" help:"Play these scenarios only, and draw each of them with --out."`
	List     bool     `help:"List the scenarios and play none."`
	Seed     uint64   `default:"1" help:"Decides latencies, sizes of batches and refusals by chance."`
	Out      string   `placeholder:"DIR" help:"Draw pictures into this folder."`
	RedisURL string   `name:"redis-url" env:"REDIS_URL" default:"embedded:0" help:"Redis for the gate's scripts: ${default} is inside the process, a redis-server is faster. Keys begin with pacing: and are deleted."`
}

// pictured are the scenarios that are drawn where none is named.
func pictured() []string {
	return []string{"known-targets-fixed", "auto-100-fixed", "auto-down-and-up", "auto-targets-fixed", "auto-minute-fixed", "noise-8", "outage-auto"}
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program; it returns the exit code.
func run(args []string, out, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	var o options
	_, done, err := settings.Parse(&o, args, out, kong.Name("pacing"),
		kong.Description("Plays the gate against scripted links in virtual time, and draws what happens."))
	if done {
		return settings.ExitOK
	}
	var list []pacing.Scenario
	if err == nil {
		list, err = o.chosen()
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "pacing:", err)
		return settings.ExitUsage
	}
	if o.List {
		err = describe(out, list)
	} else {
		err = o.play(ctx, out, list)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		_, _ = fmt.Fprintln(stderr, "pacing:", err)
		return settings.ExitFail
	}
	return settings.ExitOK
}

// chosen are the scenarios to play.
func (o *options) chosen() ([]pacing.Scenario, error) {
	all := pacing.Scenarios()
	if len(o.Scenario) == 0 {
		return all, nil
	}
	var list []pacing.Scenario
	for _, name := range o.Scenario {
		i := slices.IndexFunc(all, func(s pacing.Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("--scenario: there is no %q (--list shows all)", name)
		}
		list = append(list, all[i])
	}
	return list, nil
}

// describe lists scenarios.
func describe(out io.Writer, list []pacing.Scenario) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range list {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", s.Name, s.About)
	}
	return w.Flush()
}

// play plays scenarios, prints each when it is over, and draws some.
func (o *options) play(ctx context.Context, out io.Writer, list []pacing.Scenario) error {
	if o.Out != "" {
		if err := os.MkdirAll(o.Out, 0o755); err != nil { //nolint:gosec // pictures are for everybody
			return err
		}
	}
	conn, err := redisconn.Open(o.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(out, row, "SCENARIO", "ASKED/S", "MEASURE", "VALUE", "BAND", "SECONDS", "KEPT"); err != nil {
		return err
	}
	var broken []string
	for _, s := range list {
		r, err := pacing.Run(ctx, conn.Client, s, o.Seed)
		if err != nil {
			return err
		}
		kept, err := report(out, r)
		if err != nil {
			return err
		}
		if !kept {
			broken = append(broken, s.Name)
		}
		if o.Out != "" && (len(o.Scenario) > 0 || slices.Contains(pictured(), s.Name)) {
			if err := drawFile(r, filepath.Join(o.Out, s.Name+".svg")); err != nil {
				return err
			}
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("bands are not kept in %s", strings.Join(broken, ", "))
	}
	return nil
}

// row is a line of the table. Its width is fixed: lines come one by one.
const row = "%-23s %7s  %-8s %10s  %-13s %-10s %s\n"

// report prints the bands of a run, and how often in a second the gate was
// asked by all workers together. It tells whether all bands are kept.
func report(out io.Writer, r *pacing.Result) (kept bool, err error) {
	kept = true
	name, asked := r.Scenario.Name, fmt.Sprintf("%.0f", float64(r.Asked)/r.Scenario.Length.Seconds())
	for _, b := range r.Scenario.Bands {
		value, verdict := b.Of(r), "yes"
		if !b.Holds(value) {
			kept, verdict = false, "NO"
		}
		span := fmt.Sprintf("%.0f-%.0f", b.From.Seconds(), b.To.Seconds())
		if _, err := fmt.Fprintf(out, row, name, asked, b.Measure, b.Text(value), b.Want(), span, verdict); err != nil {
			return false, err
		}
		name, asked = "", ""
	}
	return kept, nil
}
