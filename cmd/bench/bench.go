package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"crier/internal/procs"
)

// knownQuota is far above what can be delivered: the gate counts, and never
// holds anything back.
const knownQuota = "users=100000/s,100000000t/m"

type runCommand struct {
	Targets int    `default:"1000000" help:"Targets of the job."`
	Names   kind   `enum:"mixed,sequential,random,uuidlike" default:"mixed" help:"Kind of the targets' names: ${enum}."`
	Rounds  int    `default:"3" help:"Rounds, of which the report has the medians."`
	Quota   string `help:"CHAT_QUOTA of the worker; without it, both auto and ${quota} are measured."`
	Workers int    `default:"1" help:"Workers that deliver the job together."`
	AOF     bool   `name:"aof" help:"Let Redis write its append-only file."`
	Keep    bool   `help:"Keep the list and all logs."`
}

// Validate reports what cannot be measured.
func (c *runCommand) Validate() error {
	if c.Targets < 1 || c.Rounds < 1 || c.Workers < 1 {
		return errors.New("--targets, --rounds and --workers: must be at least 1")
	}
	return nil
}

// quotas are those to measure with.
func (c *runCommand) quotas() []string {
	if c.Quota != "" {
		return []string{c.Quota}
	}
	return []string{"auto", knownQuota}
}

// bench is what measurements work with.
type bench struct {
	programs *programs
	self     string // path of bench
	redis    string // path of redis-server
	aof      bool
	list     string // path of the names
	warmUp   string // path of a short list
	targets  int
	workers  int
	fewest   int64 // calls
}

// Run measures and writes the report.
func (c *runCommand) Run(ctx context.Context, std stdio) error {
	return inFolder(ctx, std, c.Keep, func(b *bench) error {
		b.aof, b.targets, b.workers = c.AOF, c.Targets, c.Workers
		r, err := c.measure(ctx, b, std.err)
		if err != nil {
			return err
		}
		return r.write(std.out)
	})
}

// inFolder does work in a folder of its own, which stays if it fails.
func inFolder(ctx context.Context, std stdio, keep bool, work func(*bench) error) (err error) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("a real redis-server is needed, and none is installed: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "crier-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if keep || err != nil && ctx.Err() == nil {
			_, _ = fmt.Fprintln(std.err, "the list and the logs are in", dir)
			return
		}
		_ = os.RemoveAll(dir) // whatever stays is in the folder for temporary files
	}()
	return work(&bench{
		programs: &programs{Programs: procs.Programs{Bin: filepath.Dir(self), Dir: dir}}, self: self, redis: server,
		list: filepath.Join(dir, "names.txt"), warmUp: filepath.Join(dir, "warm-up.txt"),
	})
}

// measure does all that is measured. What takes memory of bench's own comes
// last (see usageOf).
func (c *runCommand) measure(ctx context.Context, b *bench, progress io.Writer) (*report, error) {
	if err := b.makeList(ctx, c.Names); err != nil {
		return nil, err
	}
	r := &report{targets: c.Targets, names: c.Names, workers: c.Workers, fewest: b.fewest, appendOnly: c.AOF, cpus: runtime.NumCPU()}
	for _, quota := range c.quotas() {
		r.crier = append(r.crier, column{quota: quota})
	}
	for round := range c.Rounds {
		for i := range r.crier {
			_, _ = fmt.Fprintf(progress, "round %d of %d: Crier, CHAT_QUOTA=%s\n", round+1, c.Rounds, r.crier[i].quota)
			measured, err := b.crier(ctx, r.crier[i].quota)
			if err != nil {
				return nil, err
			}
			r.crier[i].rounds = append(r.crier[i].rounds, measured)
		}
		_, _ = fmt.Fprintf(progress, "round %d of %d: bare loop\n", round+1, c.Rounds)
		measured, err := b.bare(ctx)
		if err != nil {
			return nil, err
		}
		r.bare = append(r.bare, measured)
		if round == 0 {
			r.commands = b.programs.commands // those of other rounds differ in ports only
		}
	}
	_, _ = fmt.Fprintf(progress, "%d urgent jobs of one target\n", urgentWarmUp+urgentJobs)
	var err error
	if r.urgent, err = b.urgent(ctx, r.crier[0].quota); err != nil {
		return nil, err
	}
	if r.redisVersion, err = b.redisVersion(ctx); err != nil {
		return nil, err
	}
	r.packed, r.packer, err = packed(ctx, b.list)
	return r, err
}

// makeList writes the list, in a process of its own, and finds the bound of calls.
func (b *bench) makeList(ctx context.Context, names kind) error {
	if _, err := b.programs.run(b.programs.command(ctx, nil, b.self, "names",
		"--targets", strconv.Itoa(b.targets), "--names", string(names), b.list)); err != nil {
		return err
	}
	list, err := os.Open(b.list)
	if err != nil {
		return err
	}
	defer func() { _ = list.Close() }() // read only
	if b.fewest, err = fewestCalls(list); err != nil {
		return err
	}
	return writeNames(b.warmUp, names, warmUpTargets)
}

func (b *bench) redisVersion(ctx context.Context) (string, error) {
	out, err := b.programs.command(ctx, nil, b.redis, "--version").Output()
	return strings.TrimSpace(string(out)), err
}
