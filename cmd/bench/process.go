package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crier/internal/procs"
)

const endTimeout = 40 * time.Second // for a worker to end: it gives its calls 30 s

// usage is what a process has used.
type usage struct {
	cpu  time.Duration // user and system
	peak int64         // most resident memory in bytes
	// atMost: peak may be that of bench itself, which the kernel counts in; the
	// process has had no more.
	atMost bool
}

// and is that of two processes together; of their memory, the larger.
func (u usage) and(other usage) usage {
	if other.peak > u.peak {
		u.peak, u.atMost = other.peak, other.atMost
	}
	u.cpu += other.cpu
	return u
}

// usageOf tells it of a child that has ended. Bench holds little in memory
// while it measures, since its own peak hides any smaller one. The kernel adds
// up the two peaks at different times from counters for each processor, so a
// hidden one may read as a little more than bench's own: up to an eighth more
// is told as "at most", which is then true in either case.
func usageOf(state *os.ProcessState) (usage, error) {
	own, err := peakOf(os.Getpid())
	peak := peakOfEnded(state)
	return usage{cpu: state.UserTime() + state.SystemTime(), peak: peak, atMost: peak <= own+own/8}, err
}

// programs starts programs, and notes their commands.
type programs struct {
	procs.Programs
	commands []string // as for a shell
}

func (p *programs) command(ctx context.Context, env []string, program string, args ...string) *exec.Cmd {
	return p.Command(ctx, endTimeout, env, program, args...)
}

// note keeps the command for the report.
func (p *programs) note(cmd *exec.Cmd) {
	words := slices.Concat(cmd.Env, []string{short(cmd.Path)}, cmd.Args[1:])
	for i, word := range words {
		if word == "" || strings.ContainsAny(word, " ;{}'\"$*?&|<>()") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	p.commands = append(p.commands, strings.Join(words, " "))
}

// short is a path as seen from here, if it lies below.
func short(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if below, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(below) {
		return below
	}
	return path
}

// run runs a program to its end and returns what it printed.
func (p *programs) run(cmd *exec.Cmd) (out []byte, err error) {
	log, err := p.Log(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the program has written to it, not we
	p.note(cmd)
	cmd.Stderr = log
	if out, err = cmd.Output(); err != nil {
		return out, fmt.Errorf("%s: %w; it said:\n%s", filepath.Base(cmd.Path), err, procs.Tail(log.Name()))
	}
	return out, nil
}

// stop ends the process as an operator would, and tells what it has used.
func stop(p *procs.Process) (usage, error) {
	peak, err := peakOf(p.Cmd.Process.Pid)
	if err != nil {
		return usage{}, err
	}
	if err := p.Stop(endTimeout); err != nil {
		return usage{}, err
	}
	state := p.Cmd.ProcessState
	return usage{cpu: state.UserTime() + state.SystemTime(), peak: peak}, nil
}
