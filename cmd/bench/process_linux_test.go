package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"crier/internal/procs"
)

func TestParsePeak(t *testing.T) {
	got, err := parsePeak("Name:\tworker\nVmPeak:\t 1700000 kB\nVmHWM:\t   32148 kB\nVmRSS:\t   30000 kB\n")
	if err != nil || got != 32148<<10 {
		t.Errorf("%d, %v", got, err)
	}
	for name, status := range map[string]string{"ended": "Name:\tworker\nState:\tZ (zombie)\n", "odd": "VmHWM:\t12 MB\n"} {
		if got, err := parsePeak(status); err == nil {
			t.Errorf("%s: %d without an error", name, got)
		}
	}
	if own, err := peakOf(os.Getpid()); err != nil || own < 1<<20 {
		t.Errorf("of this test: %d, %v", own, err)
	}
}

// shell makes a command of a line for sh.
func shell(t *testing.T, p *programs, line string) *exec.Cmd {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	return p.command(t.Context(), []string{"GREETING=good day"}, sh, "-c", line)
}

func TestRun(t *testing.T) {
	p := &programs{Programs: procs.Programs{Dir: t.TempDir()}}
	t.Setenv("GOGC", "1")
	out, err := p.run(shell(t, p, `echo "$GREETING $GOGC"`))
	if err != nil || string(out) != "good day \n" {
		t.Errorf("%q, %v; nothing of our own environment may go along", out, err)
	}
	if len(p.commands) != 1 || !strings.HasPrefix(p.commands[0], "'GREETING=good day' ") || !strings.HasSuffix(p.commands[0], ` -c 'echo "$GREETING $GOGC"'`) {
		t.Errorf("noted: %q", p.commands)
	}
	if _, err = p.run(shell(t, p, `echo "no room" >&2; exit 3`)); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a failure is told as %v", err)
	}
}

func TestUsageOf(t *testing.T) {
	p := &programs{Programs: procs.Programs{Dir: t.TempDir()}}
	cmd := shell(t, p, `i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done`)
	if _, err := p.run(cmd); err != nil {
		t.Fatal(err)
	}
	got, err := usageOf(cmd.ProcessState)
	if err != nil || got.cpu <= 0 || got.peak <= 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if !got.atMost {
		t.Errorf("a shell is smaller than this test, whose peak counts in: %+v", got)
	}
}

func TestStopTellsUsage(t *testing.T) {
	p := &programs{Programs: procs.Programs{Dir: t.TempDir()}}
	server, err := p.Start(shell(t, p, `trap "exit 0" TERM; echo up; while :; do sleep 0.01; done`))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	if err := server.Await("up"); err != nil {
		t.Fatal(err)
	}
	used, err := stop(server)
	if err != nil || used.peak <= 0 || used.atMost {
		t.Errorf("%+v, %v", used, err)
	}
}
