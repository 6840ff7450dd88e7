package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"crier/internal/chatsim"
	"crier/internal/procs"
)

// meter measures how long it takes from the end of a standstill (no worker, no
// Redis, no API) to the next call that the API accepts. A standstill that
// begins before that voids the measurement.
type meter struct {
	sim *chatsim.Server

	mu     sync.Mutex
	causes int // of the standstill of now
	since  time.Time
	kind   calamity                     // whose end is measured; "" = none
	took   map[calamity][]time.Duration // to recover
	whole  time.Time                    // since when nothing is missing
	pause  time.Duration                // the longest without an accepted call meanwhile
}

func newMeter(sim *chatsim.Server) *meter {
	return &meter{sim: sim, took: map[calamity][]time.Duration{}}
}

// broken says that one more thing is missing.
func (m *meter) broken() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.causes++
	m.kind = ""
}

// repaired says that it is there again.
func (m *meter) repaired(kind calamity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.causes--; m.causes == 0 {
		m.kind, m.since = kind, time.Now()
		m.whole = m.since
	}
}

// run looks at the API until whole ends, or all was measured once busy has.
func (m *meter) run(whole, busy context.Context) {
	for procs.Pause(whole, 5*time.Millisecond) == nil {
		accepted := m.sim.Stats().LastAccepted
		if !m.look(accepted) && busy.Err() != nil {
			return
		}
		m.idle(accepted, time.Now())
	}
}

// idle takes in how long there was no accepted call though nothing was missing.
func (m *meter) idle(accepted, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := accepted
	if m.whole.After(accepted) {
		since = m.whole
	}
	if m.causes == 0 && !accepted.IsZero() {
		m.pause = max(m.pause, now.Sub(since))
	}
}

// longest is the longest such pause.
func (m *meter) longest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pause
}

// look takes in when the last call was accepted, and reports whether something
// is still being measured.
func (m *meter) look(accepted time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kind != "" && accepted.After(m.since) {
		m.took[m.kind] = append(m.took[m.kind], accepted.Sub(m.since))
		m.kind = ""
	}
	return m.kind != "" || m.causes > 0
}

// figures are the median and the worst time of one kind, and how many there were.
func (m *meter) figures(kind calamity) (median, worst time.Duration, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Sorted(slices.Values(m.took[kind]))
	if n = len(list); n == 0 {
		return 0, 0, 0
	}
	return list[n/2], list[n-1], n
}
