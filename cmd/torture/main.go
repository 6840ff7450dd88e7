// Command torture delivers jobs through the built worker and enqueue programs,
// a real Redis and a simulated Chat API, and meanwhile kills, stops and starves
// all of them by a seeded schedule. Then it compares, target by target, what
// Crier says of every job with what the API has accepted.
//
// Invariant: it exits with 0 only if every job has ended and the books balance;
// and whatever it has started has ended by then.
//
// The same seed makes the same jobs and the same calamities in the same order;
// what they hit at that moment differs from run to run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"crier/internal/chatsim"
	"crier/internal/redisconn"
	"crier/internal/settings"
)

// options are the flags.
type options struct {
	Version kong.VersionFlag `name:"version" help:"Show the version."`

	Seed        int64         `default:"1" help:"Decides the jobs, the calamities and their order, and the API's faults."`
	Duration    time.Duration `default:"60s" help:"How long jobs are submitted and calamities happen."`
	Settle      time.Duration `default:"90s" help:"How long all jobs may take to end once all is well again."`
	Workers     int           `default:"3" help:"Worker processes."`
	MaxPause    time.Duration `default:"30s" help:"Longest time without an accepted call while jobs are pending and workers, Redis and the API are there."`
	Concurrency int           `default:"32" help:"CONCURRENCY of each."`
	Targets     int           `default:"20000" help:"Targets of a bulk job, in the mean."`
	Rate        int           `default:"100" help:"Calls a second that the API allows, of 100 targets each."`
	KillsEvery  time.Duration `default:"5s" help:"Time between two calamities to workers, and between two to Redis, the queue or the API, in the mean."`
	Calamities  []calamity    `enum:"${kinds}" default:"${kinds}" help:"Which kinds happen: ${enum}."`
	Faults      string        `default:"${faults}" help:"What the API does to calls, in percent of them."`
	Latency     time.Duration `default:"150ms" help:"Least time of a call; up to as much is added at random."`
	Fsync       string        `enum:"always,everysec" default:"always" help:"appendfsync of Redis: ${enum}. With everysec a kill may lose writes, and what follows from that is told, but no violation."`
	Keep        bool          `help:"Keep all logs also if the books balance."`
}

// defaultFaults lose some answers after the call was accepted, and some before:
// the sender cannot know which.
const defaultFaults = "throttle=1,unavailable=1,html=0.5,reset=0.5,error=0.5,reset_after=1,error_after=0.5"

// Validate reports what cannot be run.
func (o *options) Validate() error {
	if o.Workers < 1 || o.Concurrency < 1 || o.Targets < 100 || o.Rate < 1 {
		return errors.New("--workers, --concurrency and --rate must be at least 1, --targets at least 100")
	}
	if o.Duration < time.Second || o.Settle < time.Second || o.KillsEvery < 100*time.Millisecond || o.Latency < 0 {
		return errors.New("--duration and --settle must be at least 1s, --kills-every 100ms, --latency not negative")
	}
	_, err := chatsim.ParseFaults(o.Faults)
	return err
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program; it returns the exit code.
func run(args []string, out, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // what runs is ended even if nobody reads the report
	redisconn.SetLogger(nil)       // it is killed on purpose
	var o options
	_, done, err := settings.Parse(&o, args, out, kong.Name("torture"),
		kong.Description("Kills workers, Redis and the API while jobs are delivered, and compares the books. Stands beside the worker and enqueue programs; needs redis-server."),
		kong.Vars{"kinds": kindList(), "faults": defaultFaults})
	if done {
		return settings.ExitOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "torture:", err)
		return settings.ExitUsage
	}
	if err := o.torture(ctx, out, stderr); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; all that ran has been ended")
		}
		_, _ = fmt.Fprintln(stderr, "torture:", err)
		return settings.ExitFail
	}
	return settings.ExitOK
}

// torture runs the whole test and writes the report.
func (o *options) torture(ctx context.Context, out, stderr io.Writer) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "crier-torture-")
	if err != nil {
		return err
	}
	defer func() {
		if o.Keep || err != nil && ctx.Err() == nil {
			_, _ = fmt.Fprintln(stderr, "torture: all logs are in", dir)
			return
		}
		_ = os.RemoveAll(dir) // whatever stays is in the folder for temporary files
	}()
	list := plan(o)
	w, err := open(ctx, o, list, filepath.Dir(self), dir)
	if err != nil {
		return err
	}
	defer w.close()
	w.say = func(format string, args ...any) {
		_, _ = fmt.Fprintf(out, "%6.1fs  "+format+"\n", append([]any{time.Since(w.began).Seconds()}, args...)...)
	}
	l := &load{world: w, plan: list}
	if err := w.live(ctx, l); err != nil {
		return err
	}
	b, err := l.audit(ctx)
	if err != nil {
		return err
	}
	b.faults = append(b.faults, w.faults()...)
	if pause := w.meter.longest(); pause > o.MaxPause {
		b.faults = append(b.faults, fmt.Errorf("for %v no call was made though jobs were pending (calls.log)", round(pause)))
	}
	return report(out, w, l, b)
}
