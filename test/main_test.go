// Package test tries the built programs the way users do: it runs worker and
// enqueue as processes against a real Redis and a simulated Chat API, and holds
// what they print, what they exit with and what was delivered against the
// documented interface.
//
// Invariant: what a program says of its deliveries is compared with the journal
// of the simulated API, never with the program's own word.
//
// It is not the place for what one package decides alone: that is tested there.
package test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// programs is the folder of the built programs; TestMain sets it, once.
var programs string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crier-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder: the system clears what is left
	build := exec.Command("go", "build", "-o", dir, "crier/cmd/worker", "crier/cmd/enqueue")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the programs cannot be built:", err)
		return 1
	}
	programs = dir

	// The tests mostly wait for quotas, polls and clocks, so more of them than
	// there are processors go side by side, unless -parallel says otherwise.
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "6"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}
