package tasks

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"crier/internal/ledger"
)

// What producers are told of the raw queue.
const (
	intakeTask = "message:send" // the only type of task
	maxPayload = 16 << 20       // bytes of a document
)

const (
	// intakeSlots is how many tasks a process takes in at a time. They are few,
	// since asynq holds a payload several times over.
	intakeSlots = 4
	// largePayload is from how many bytes on payloads are worked on one by one.
	largePayload = 1 << 20
)

// What becomes of a task, as crier_intake_total counts it.
const (
	intakeAccepted = "accepted" // a new job
	intakeRepeated = "repeated" // a job that was there
	intakeRejected = "rejected"
)

// intake takes send jobs from the raw queue, where backends put them with
// asynq. A task is done once its job stands in the ledger, or once its payload
// is kept as rejected; from any other end it comes back, also from asynq's
// archive. Doing a task twice does no harm: its id is the job's.
//
// Tasks of an asynq group are not taken in: they wait for an aggregator, which
// this is not.
type intake struct {
	*Worker
	server *asynq.Server
	submit Submitter
	large  sync.Mutex // of who works on a large payload
}

func newIntake(w *Worker) *intake {
	alone := func(job string, err error) {
		if w.lonely.due() {
			w.log.Warn(AloneText, "job", job, "error", err)
		}
	}
	return &intake{
		Worker: w, submit: Submitter{Ledger: w.ledger, Queue: w.queue, Alone: alone},
		server: w.server(asynq.Config{
			Queues: map[string]int{w.queue.intake(): 1}, Concurrency: intakeSlots, TaskCheckInterval: 100 * time.Millisecond,
			BaseContext: func() context.Context { return timeless{context.Background()} },
		}),
	}
}

// timeless keeps asynq from setting a producer's Timeout or Deadline on contexts
// that are made of it: context.WithDeadline leaves a parent whose deadline is
// earlier as it is, and this one claims the earliest of all, but does not end by
// it. Without it asynq would retry for ever, and never show to the handler, a
// task whose Deadline has passed.
type timeless struct{ context.Context }

// Deadline is for context.WithDeadline alone.
func (timeless) Deadline() (time.Time, bool) { return time.Time{}, true }

// handle is the asynq handler of the raw queue.
func (in *intake) handle(ctx context.Context, task *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx) // each task has one
	working, cancel := context.WithCancel(in.recording)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)() // asynq gives the task to somebody else
	err := in.take(working, id, task)
	if err != nil {
		in.log.Warn("a task could not be taken in, it comes back", "task", id, "error", err)
		// Where the producer allows no retry it goes to the archive, which drops
		// what is above 9,999 tasks: so it does not go there in haste.
		pause(in.draining, time.Second)
	}
	return err
}

// take makes a task a job, or keeps it as rejected. An error says that neither
// could be done, or that it is not known.
func (in *intake) take(ctx context.Context, id string, task *asynq.Task) error {
	if len(task.Payload()) >= largePayload {
		in.large.Lock()
		defer in.large.Unlock()
		defer debug.FreeOSMemory() // it may have taken ten times what the worker needs else
	}
	done, err := in.job(ctx, id, task)
	if problem := problemOf(err); problem != "" {
		return in.reject(ctx, ledger.Rejection{ID: id, Type: task.Type(), Problem: problem, Payload: task.Payload()})
	}
	if err != nil {
		return err
	}
	result := intakeAccepted
	if !done.Created {
		result = intakeRepeated
	}
	in.metrics.intake.WithLabelValues(result).Inc()
	in.log.Debug("a task was taken in", "task", id, "job", done.ID, "result", result)
	if done.Created {
		TellAccepted(in.log, done, "queue")
	}
	return nil
}

// job makes a task a job. A document without an id takes the task's.
func (in *intake) job(ctx context.Context, id string, task *asynq.Task) (Submitted, error) {
	if task.Type() != intakeTask {
		return Submitted{}, fault("type", "the task is a %.80q, this queue takes %s", task.Type(), intakeTask)
	}
	if n := len(task.Payload()); n > maxPayload {
		return Submitted{}, fault("document", "has %d bytes, at most %d can be taken from this queue: use enqueue or HTTP", n, maxPayload)
	}
	d, err := ParseDocument(task.Payload())
	if err != nil {
		return Submitted{}, err
	}
	if d.ID == "" {
		if d.ID = id; !ValidID(id) {
			return Submitted{}, fault("id", "is not given, and the task's id %.80q cannot be a job's", id)
		}
	}
	return in.submit.Submit(ctx, Submission{Document: d})
}

// maxProblem bounds what is kept of a problem; it may quote from the payload.
const maxProblem = 4096

// problemOf says what is wrong with a payload, each fault by its field, or ""
// where the error is not the payload's.
func problemOf(err error) (problem string) {
	var syntax *SyntaxError
	var invalid *InvalidError
	var names *NamesError
	switch {
	case errors.Is(err, ledger.ErrConflict):
		problem = "id: belongs to a job with other content"
	case errors.As(err, &syntax):
		problem = syntax.Error()
	case errors.As(err, &invalid):
		problem = invalid.Error()
	case errors.As(err, &names):
		problem = names.Error()
	}
	if len(problem) > maxProblem {
		problem = strings.ToValidUTF8(problem[:maxProblem], "") + "..."
	}
	return problem
}

func (in *intake) reject(ctx context.Context, r ledger.Rejection) error {
	if err := in.ledger.Reject(ctx, r); err != nil {
		return err
	}
	in.metrics.intake.WithLabelValues(intakeRejected).Inc()
	in.log.Warn("a payload is no valid job, it is kept: see enqueue rejected",
		"task", r.ID, "type", r.Type, "bytes", len(r.Payload), "problem", r.Problem)
	return nil
}

// reviveEvery is how often one process of the fleet looks into the archive.
const reviveEvery = 3 * time.Second

// revive brings back what asynq has archived, until the worker drains: tasks
// with no retry left when a worker died or Redis failed, or archived by hand.
func (in *intake) revive() {
	tick := time.NewTicker(reviveEvery)
	defer tick.Stop()
	for {
		select {
		case <-in.draining.Done():
			return
		case <-tick.C:
		}
		switch n, err := in.empty(); {
		case err != nil && in.draining.Err() == nil:
			in.log.Warn("the archive of the raw queue cannot be looked into", "error", err)
		case n > 0:
			in.log.Info("tasks that asynq had archived are taken in", "tasks", n)
		}
	}
}

// empty puts all archived tasks back on the queue, where no other process has
// just done so. They are 9,999 at most, moved in about 30 ms.
func (in *intake) empty() (tasks int, err error) {
	mine, err := in.ledger.TryLock(in.draining, "intake", reviveEvery*9/10)
	if err != nil || !mine {
		return 0, err
	}
	known, err := in.queue.inspector.Queues()
	if err != nil || !slices.Contains(known, in.queue.intake()) {
		return 0, wrapQueue(err)
	}
	tasks, err = in.queue.inspector.RunAllArchivedTasks(in.queue.intake())
	return tasks, wrapQueue(err)
}
