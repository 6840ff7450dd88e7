package tasks

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"crier/internal/ledger"
)

// presence is the slots that this process has at work on one job, until that is
// paused or ends: slots that come after a pause are another presence, and need
// not wait for calls of the first.
type presence struct {
	job   string
	slots int
	over  context.Context // ended: the job does not run any more, make no new calls
	end   context.CancelFunc
}

// presences are those at jobs that run, as far as this process knows.
type presences struct {
	mu   sync.Mutex
	jobs map[string]*presence
}

// enter takes one of the places that a job has in this process: nil if none is free.
func (p *presences) enter(job string, places int) *presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := p.jobs[job]
	if here == nil {
		here = &presence{job: job}
		here.over, here.end = context.WithCancel(context.Background())
		p.jobs[job] = here
	}
	if here.slots >= places {
		return nil
	}
	here.slots++
	return here
}

func (p *presences) leave(here *presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if here.slots--; here.slots == 0 {
		p.close(here)
	}
}

// dismiss lets the slots of a job end. It reports whether there were any.
func (p *presences) dismiss(job string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := p.jobs[job]
	if here != nil {
		p.close(here)
	}
	return here != nil
}

func (p *presences) close(here *presence) {
	here.end()
	if p.jobs[here.job] == here {
		delete(p.jobs, here.job)
	}
}

// mayJoin reports whether nobody works on a job, and on few enough others.
func (p *presences) mayJoin(job string, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.jobs[job] == nil && len(p.jobs) < most
}

// count is the number of jobs.
func (p *presences) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.jobs)
}

// list names the jobs.
func (p *presences) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.jobs))
}

const watchEvery = time.Second

// watch looks every second at the states of the jobs that this worker works on.
// No call is made for a job that does not run any more, since its mark tells; but
// slots that wait for a permit would not hear of it, keep their segments, and take
// permits that are of no use.
func (w *Worker) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.recording.Done():
			return
		case <-tick.C:
		}
		jobs := w.present.list()
		if len(jobs) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(w.recording, watchEvery*9/10)
		states, err := w.ledger.StatesOf(ctx, jobs)
		cancel()
		if err != nil {
			w.log.Debug("the states of jobs at work could not be read", "error", err)
			continue
		}
		for _, job := range jobs {
			w.heed(job, states[job])
		}
	}
}

// heed lets the slots of a job end that does not run any more.
func (w *Worker) heed(job string, state ledger.State) {
	if state != ledger.StateRunning && w.present.dismiss(job) && (state == ledger.StatePaused || state == ledger.StateCancelled) {
		w.log.Info("no more calls for a job", "job", job, "state", state)
	}
}

// setClock notes by how much Redis's clock is ahead of this process's.
func (w *Worker) setClock(ctx context.Context) error {
	now, err := w.ledger.Clock(ctx)
	if err == nil {
		w.skew.Store(int64(time.Until(now)))
	}
	return err
}

// clock is the time by Redis's clock: jobs start and expire by that, whatever
// the clocks of workers say.
func (w *Worker) clock() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }
