package tasks

import (
	"context"
	"sync"
	"time"

	"crier/internal/ledger"
)

// presence is the slots that this process has at work on one job.
type presence struct {
	slots int
	over  context.Context // ended: the job does not run any more, make no new calls
	end   context.CancelFunc
}

// presences are those of all jobs that this process works on.
type presences struct {
	mu   sync.Mutex
	jobs map[string]*presence
}

// enter takes one of the places that a job has in this process, if one is free.
// What it returns ends when the job is found not to run any more.
func (p *presences) enter(job string, places int) (over context.Context, entered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := p.jobs[job]
	if here == nil {
		here = &presence{}
		p.jobs[job] = here
	}
	if here.slots >= places {
		return nil, false
	}
	if here.slots++; here.over == nil || here.over.Err() != nil { // those who are about to leave have theirs
		here.over, here.end = context.WithCancel(context.Background())
	}
	return here.over, true
}

func (p *presences) leave(job string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := p.jobs[job]
	if here.slots--; here.slots == 0 {
		here.end()
		delete(p.jobs, job)
	}
}

// mayJoin reports whether nobody works on a job, and on few enough others.
func (p *presences) mayJoin(job string, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.jobs[job] == nil && len(p.jobs) < most
}

// dismiss lets the slots of a job end. It reports whether it is the first to do so.
func (p *presences) dismiss(job string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := p.jobs[job]
	if here == nil || here.over.Err() != nil {
		return false
	}
	here.end()
	return true
}

// list names the jobs whose slots are to go on.
func (p *presences) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var jobs []string
	for job, here := range p.jobs {
		if here.over.Err() == nil {
			jobs = append(jobs, job)
		}
	}
	return jobs
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
