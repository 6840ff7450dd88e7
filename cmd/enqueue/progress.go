package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"crier/internal/tasks"
)

// plainEvery is how often progress is told where there is no terminal.
const plainEvery = 5 * time.Second

func newBar(w io.Writer, total int64, what, unit string) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit),
		progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionFullWidth(), progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish())
}

// loadProgress shows how a list of targets is read in. How many there are is
// known at its end only.
type loadProgress struct {
	err  *os.File
	bar  *progressbar.ProgressBar // nil without a terminal
	last time.Time
}

func newLoadProgress(stderr *os.File) *loadProgress {
	return &loadProgress{err: stderr, last: time.Now()}
}

func (p *loadProgress) loaded(n int) {
	if time.Since(p.last) < plainEvery/10 {
		return // small lists are loaded before anyone could read of it
	}
	if term.IsTerminal(int(p.err.Fd())) {
		if p.bar == nil {
			p.bar = newBar(p.err, -1, "loading", "targets")
		}
		_ = p.bar.Set(n) // a progress bar that cannot be drawn harms nothing
		return
	}
	if time.Since(p.last) >= plainEvery {
		fmt.Fprintf(p.err, "loading: %d targets\n", n)
		p.last = time.Now()
	}
}

func (p *loadProgress) end() {
	if p.bar != nil {
		_ = p.bar.Finish() // as above
	}
}

// jobProgress shows how a job is delivered.
type jobProgress struct {
	err  *os.File
	bar  *progressbar.ProgressBar // nil without a terminal
	last time.Time
}

func newJobProgress(stderr *os.File) *jobProgress { return &jobProgress{err: stderr} }

func (p *jobProgress) show(s tasks.Status) {
	if term.IsTerminal(int(p.err.Fd())) {
		if p.bar == nil {
			p.bar = newBar(p.err, s.Total, "", "targets")
		}
		p.bar.Describe(stateOf(s))
		_ = p.bar.Set64(s.Done()) // as in loadProgress
		return
	}
	if time.Since(p.last) < plainEvery {
		return
	}
	p.last = time.Now()
	eta := ""
	if s.ETASeconds != nil {
		eta = fmt.Sprintf(", done in about %s", time.Duration(*s.ETASeconds)*time.Second)
	}
	fmt.Fprintf(p.err, "%s: %d of %d targets, %.0f a second%s\n", stateOf(s), s.Done(), s.Total, s.TargetsPerSecond, eta)
}

func (p *jobProgress) end() {
	if p.bar != nil {
		_ = p.bar.Finish() // as in loadProgress
	}
}
