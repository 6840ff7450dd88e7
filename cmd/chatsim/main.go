// Command chatsim serves the simulated Chat API of package chatsim, on a
// loopback address unless told otherwise: for trying the product without an
// account, and for tests from outside. It prints its base URL as the first line
// of standard output, everything else goes to standard error. It only wires
// flags to the package.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"crier/internal/chatsim"
)

// Exit codes, as for every program of the project.
const (
	exitDone   = 0
	exitFailed = 1 // it could not be done, such as a port that is taken
	exitUsage  = 2
)

// shutdownTimeout is how long calls under way may take to finish.
const shutdownTimeout = 5 * time.Second

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	cfg, listen, exited, err := parse(args, stdout, stderr)
	if exited {
		return exitDone
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			_, _ = fmt.Fprintf(stderr, "chatsim: %s\n", strings.TrimSpace(line))
		}
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, cfg, listen, stdout, stderr); err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return exitDone
}

// serve runs the simulator until ctx ends.
func serve(ctx context.Context, cfg chatsim.Config, listen string, stdout, stderr io.Writer) error {
	server, err := chatsim.New(cfg)
	if err != nil {
		return err
	}
	url, err := server.Start(listen)
	if err != nil {
		return err
	}
	defer server.Close()
	if _, err := fmt.Fprintln(stdout, url); err != nil {
		return fmt.Errorf("chatsim: cannot say the URL: %w", err)
	}
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	_, _ = fmt.Fprintln(stderr, summary(server.Stats()))
	return nil
}

// summary says in one line what was seen.
func summary(st chatsim.Stats) string {
	faults := int64(0)
	for _, n := range st.Faults {
		faults += n
	}
	var answers strings.Builder
	for _, status := range slices.Sorted(maps.Keys(st.Statuses)) {
		fmt.Fprintf(&answers, " %d:%d", status, st.Statuses[status])
	}
	if answers.Len() == 0 {
		answers.WriteString(" none")
	}
	return fmt.Sprintf("chatsim: %d calls, %d accepted with %d targets, answers%s, %d unanswered, %d faults, %d token calls, %d uploads",
		st.Calls, st.AcceptedCalls, st.AcceptedTargets, answers.String(), st.Unanswered, faults, st.TokenCalls, st.Uploads)
}
