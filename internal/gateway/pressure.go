package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Probe asks Redis how full it is: the share of the memory that it may use, 0 = it
// has no limit. How long the answer takes counts, too.
type Probe func(ctx context.Context) (share float64, err error)

// PressureConfig says when Redis has too much to do for new jobs.
type PressureConfig struct {
	// MemoryShare of its limit from which on nothing is taken. What is left is for
	// the outcomes of what is there.
	MemoryShare float64
	// Latency of an answer from which on nothing is taken.
	Latency time.Duration
	// Every is how often Redis is asked.
	Every time.Duration
}

// DefaultPressureConfig returns the defaults.
func DefaultPressureConfig() PressureConfig {
	return PressureConfig{MemoryShare: 0.9, Latency: 500 * time.Millisecond, Every: time.Second}
}

// slowFrom is the part of a bound from which on submissions are slowed down, up to
// slowest just below the bound.
const (
	slowFrom = 0.8
	slowest  = time.Second
)

// pressure keeps submissions off a Redis that has too little memory left, or is
// slow: its workers need it more.
type pressure struct {
	cfg   PressureConfig
	probe Probe
	log   *slog.Logger

	mu     sync.Mutex
	load   float64 // share of the nearest bound; 1 and above: nothing is taken
	why    string
	gone   error            // why Redis did not answer
	recent [3]time.Duration // how long the last answers took
	n      int
}

func newPressure(cfg PressureConfig, probe Probe, log *slog.Logger) *pressure {
	return &pressure{cfg: cfg, probe: probe, log: log}
}

// watch asks Redis until ctx ends.
func (p *pressure) watch(ctx context.Context) {
	for {
		wait := p.cfg.Every
		if p.look(ctx); p.lost() != nil {
			wait = min(wait, 100*time.Millisecond) // clients wait for it
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// look asks Redis once.
func (p *pressure) look(ctx context.Context) {
	began := time.Now()
	asking, cancel := context.WithTimeout(ctx, p.cfg.Latency+time.Second)
	defer cancel()
	share, err := p.probe(asking)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.load
	if p.gone = err; err != nil {
		p.load, p.why = 1, "Redis does not answer"
	} else {
		p.recent[p.n%len(p.recent)] = time.Since(began)
		p.n++
		p.weigh(share)
	}
	if (before >= 1) != (p.load >= 1) {
		if p.load >= 1 {
			p.log.Warn("new jobs are refused", "reason", p.why, "memory_share", share, "error", err)
		} else {
			p.log.Info("new jobs are taken again")
		}
	}
}

// weigh finds the nearest bound. A single slow answer is nothing: Redis forks, or a
// disk waits.
func (p *pressure) weigh(share float64) {
	quickest := p.recent[0]
	for _, took := range p.recent[1:min(p.n, len(p.recent))] {
		quickest = min(quickest, took)
	}
	p.load, p.why = quickest.Seconds()/p.cfg.Latency.Seconds(), "Redis is slow"
	if share /= p.cfg.MemoryShare; share > p.load {
		p.load, p.why = share, "Redis is nearly full"
	}
}

// lost is why Redis did not answer when it was last asked; nil = it did.
func (p *pressure) lost() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// answers refuses what a client asks for where Redis is lost.
func (p *pressure) answers() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone != nil {
		return p.refusal()
	}
	return nil
}

// refusal is called with mu held.
func (p *pressure) refusal() error {
	return problem(http.StatusServiceUnavailable, "%s: no jobs are taken now, and nothing was stored", p.why).again(later)
}

// admit lets a submission, or the next part of one, go on: at once, after a while,
// or not at all.
func (p *pressure) admit(ctx context.Context) error {
	p.mu.Lock()
	load, refusal := p.load, p.refusal()
	p.mu.Unlock()
	switch {
	case load < slowFrom:
		return nil
	case load >= 1:
		return refusal
	}
	wait := time.NewTimer(time.Duration(float64(slowest) * (load - slowFrom) / (1 - slowFrom)))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return nil
	}
}
