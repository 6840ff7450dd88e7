// Command demo runs Crier's main job on this machine alone: it starts an
// embedded Redis and a simulated Chat API that throttles and fails now and
// then, has the built worker and enqueue programs deliver a campaign through
// them, and compares what the ledger says with what the API has accepted,
// target by target. It exits with 0 only if the books balance.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"crier/internal/chatsim"
	"crier/internal/redisconn"
	"crier/internal/settings"
	"crier/internal/tasks"
)

const (
	text = "Spring sale: 20 % off everything until Sunday."
	// What the simulated API does to the campaign, besides keeping to its quota.
	quota  = "users=10/s"
	faults = "unavailable=8,html=4,reset=4,reset_after=4,throttle=6"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // the worker is ended even if nobody reads the report
	if len(args) == 1 && args[0] == "--version" {
		fmt.Fprintln(os.Stdout, settings.About())
		return 0
	}
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: demo LIST, beside the worker and enqueue programs")
		return 2
	}
	if err := show(ctx, args[0], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return 0
}

// show runs the campaign and writes the report.
func show(ctx context.Context, list string, out io.Writer) error {
	d, err := start(ctx)
	if err != nil {
		return err
	}
	defer d.close()
	fmt.Fprintf(out, "Redis: embedded at %s. Chat API: simulated at %s, quota %s, faults %s.\n\n", d.redis, d.url, quota, faults)

	began := time.Now()
	status, err := d.send(ctx, list)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, d.log())
	}
	took := time.Since(began)
	if err := d.stopWorker(); err != nil {
		return fmt.Errorf("the worker did not end well: %w\n%s", err, d.log())
	}
	fewest, err := fewestCalls(list)
	if err != nil {
		return err
	}
	rows, err := d.results(ctx, status.ID)
	if err != nil {
		return err
	}
	books := compare(rows, d.sim.Journal(), status)
	d.report(out, status, fewest, took)
	if err := books.err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "demo: %d targets: %d sent, %d failed, %d unknown; %d calls (fewest possible %d); books balance\n",
		status.Total, status.Sent, status.Failed, status.Unknown, status.Calls, fewest)
	return nil
}

// demo is everything that runs.
type demo struct {
	conn   *redisconn.Conn
	redis  string
	sim    *chatsim.Server
	url    string
	bin    string // folder of the programs
	worker *exec.Cmd
	logs   *os.File
}

func start(ctx context.Context) (d *demo, err error) {
	d = &demo{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return d, err
	}
	d.bin = filepath.Dir(self)
	if d.conn, err = redisconn.Open("embedded:0"); err != nil {
		return d, err
	}
	d.redis = d.conn.Addr()
	config := chatsim.DefaultConfig()
	config.Seed, config.Latency, config.LatencyJitter = 1, 30*time.Millisecond, 20*time.Millisecond
	if config.Quotas, err = chatsim.ParseQuotas(quota); err != nil {
		return d, err
	}
	if config.Faults, err = chatsim.ParseFaults(faults); err != nil {
		return d, err
	}
	if d.sim, err = chatsim.New(config); err != nil {
		return d, err
	}
	if d.url, err = d.sim.Start("127.0.0.1:0"); err != nil {
		return d, err
	}
	if d.logs, err = os.CreateTemp("", "crier-demo-worker-*.log"); err != nil {
		return d, err
	}
	d.worker = d.program(ctx, "worker")
	d.worker.Env = append(d.worker.Env, "CHAT_URL="+d.url, "CHAT_ORG="+config.Org, "CHAT_APP="+config.App,
		"CHAT_TOKEN="+config.Token, "CHAT_QUOTA="+quota, "ADMIN_ADDR=off")
	d.worker.Stderr = d.logs
	return d, d.worker.Start()
}

// program is one of ours, with nothing in its environment that could send it
// elsewhere. An interrupt reaches it as SIGTERM.
func (d *demo) program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, name), args...)
	cmd.Env = []string{"REDIS_URL=" + d.redis, "TERM=" + os.Getenv("TERM")}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// send hands the campaign over, as a user would, and waits for its end.
func (d *demo) send(ctx context.Context, list string) (tasks.Status, error) {
	cmd := d.program(ctx, "enqueue", "send", "--targets", list, "--type", "txt", "--text", text, "--name", "Spring sale", "--wait", "--json")
	cmd.Stderr = os.Stderr // the progress bar
	document, err := cmd.Output()
	var status tasks.Status
	if err != nil {
		return status, fmt.Errorf("enqueue send: %w", err)
	}
	return status, json.Unmarshal(document, &status)
}

// stopWorker ends the worker as an operator would.
func (d *demo) stopWorker() error {
	if err := d.worker.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return d.worker.Wait()
}

// log is where the worker's own words are, for a demo that failed.
func (d *demo) log() string { return "the worker's log is in " + d.logs.Name() }

func (d *demo) close() {
	if d.worker != nil && d.worker.Process != nil && d.worker.ProcessState == nil {
		_ = d.worker.Process.Kill()
		_ = d.worker.Wait() // killed: it says so
	}
	if d.sim != nil {
		d.sim.Close()
	}
	if d.conn != nil {
		_ = d.conn.Close()
	}
	if d.logs != nil {
		_ = d.logs.Close()
		if d.worker.ProcessState != nil && d.worker.ProcessState.Success() {
			_ = os.Remove(d.logs.Name())
		}
	}
}

func (d *demo) report(out io.Writer, s tasks.Status, fewest int, took time.Duration) {
	stats := d.sim.Stats()
	fmt.Fprintf(out, "\n%-22s %d\n", "targets", s.Total)
	fmt.Fprintf(out, "%-22s %d sent, %d failed, %d unknown, %d cancelled\n", "outcomes", s.Sent, s.Failed, s.Unknown, s.Cancelled)
	fmt.Fprintf(out, "%-22s %d, fewest possible %d without faults\n", "calls", s.Calls, fewest)
	fmt.Fprintf(out, "%-22s %d over the quota, %d by injected faults\n", "refused or spoilt", sum(stats.Refused), sum(stats.Faults))
	fmt.Fprintf(out, "%-22s %d\n", "resent, answer lost", s.Resent)
	fmt.Fprintf(out, "%-22s %s\n\n", "time", took.Round(10*time.Millisecond))
}

func sum[K comparable, N int | int64](counts map[K]N) (n N) {
	for _, c := range counts {
		n += c
	}
	return n
}

var errBooks = errors.New("the books do not balance")
