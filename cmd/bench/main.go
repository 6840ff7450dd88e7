// Command bench measures what Crier costs: it delivers a generated list of
// names through the built enqueue and worker, a real Redis and the simulated
// Chat API, and the same list with a bare loop of POSTs that knows nothing of
// jobs. Each part is a process of its own, so that the system tells what each
// has used. Rounds of both alternate, since machines are noisy, and medians
// are compared.
//
// The HTTP gateway is measured in the same way (bench http): the built enqueue
// serve beside the same gateway on a Redis that is played from memory.
//
// Invariant: a round counts only if the job has sent to every target and the
// simulated API has accepted each of them, and of the gateway's, if the ledger
// has a job for each 202 and every target of each list; else bench fails.
//
// It compares ways to do the work on one machine. It says nothing of the Chat
// API's own speed, and its numbers are not to be compared between machines.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/alecthomas/kong"

	"crier/internal/settings"
)

// commands are what bench can do. Those beside run and http are its own parts,
// and are there to be repeated by hand, too.
type commands struct {
	Version kong.VersionFlag `name:"version" help:"Show the version."`

	Run     runCommand     `cmd:"" default:"withargs" help:"Measure and print a report (the default)."`
	HTTP    httpCommand    `cmd:"" name:"http" help:"Measure the HTTP gateway and print a report."`
	Names   namesCommand   `cmd:"" help:"Only write the list of names."`
	Bare    bareCommand    `cmd:"" help:"Only deliver a list with the bare loop."`
	Gateway gatewayCommand `cmd:"" help:"Only serve the HTTP gateway on a Redis that is played from memory."`
}

// stdio are the standard streams: results, and what else is to be said.
type stdio struct{ out, err io.Writer }

func main() { os.Exit(run(os.Args[1:], stdio{os.Stdout, os.Stderr})) }

// run is the program; it returns the exit code.
func run(args []string, std stdio) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // what runs is ended even if nobody reads the report
	var c commands
	parsed, done, err := settings.Parse(&c, args, std.out, kong.Name("bench"),
		kong.Description("Measures what Crier costs, beside a bare loop of POSTs. Stands beside the worker, enqueue and chatsim programs."),
		kong.Vars{"senders": strconv.Itoa(bareSenders), "quota": knownQuota},
		kong.BindTo(ctx, (*context.Context)(nil)))
	if done {
		return settings.ExitOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(std.err, "bench:", err)
		return settings.ExitUsage
	}
	if err := parsed.Run(std); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; all that ran has been ended")
		}
		_, _ = fmt.Fprintln(std.err, "bench:", err)
		return settings.ExitFail
	}
	return settings.ExitOK
}
