package ledger

import (
	"context"
	"fmt"
)

// StateError says that a job's state does not allow what was asked.
type StateError struct {
	ID    string
	State State
	Asked string // "pause", "resume", "cancel", "load" or "start"
}

// Error names the state.
func (e *StateError) Error() string {
	return fmt.Sprintf("ledger: %s: job %q is %s", e.Asked, e.ID, e.State)
}

// Change is what has become of a job's state.
type Change struct{ Was, Is State } // the same where nothing was to be changed

// Pause keeps a running or scheduled job from making calls, until Resume. Calls
// in flight finish, and every owner learns of it at its next commit. A paused job
// stays as it is; else ErrNotFound or a *StateError.
func (l *Ledger) Pause(ctx context.Context, id string) (Change, error) {
	return l.control(ctx, id, "pause", StatePaused)
}

// Resume lets a paused job go on: it runs, or is scheduled again where its SendAt
// lies ahead by Redis's clock. What is not paused stays as it is, and where it has
// ended that is a *StateError. ErrNotFound where there is no such job.
func (l *Ledger) Resume(ctx context.Context, id string) (Change, error) {
	return l.control(ctx, id, "resume", StateRunning, StateScheduled)
}

// Cancel ends a job that has not ended: from now on no owner begins a call and no
// Draft adds a target, and Settle ends its pending targets. A cancelled job stays as it is; else
// ErrNotFound or a *StateError.
func (l *Ledger) Cancel(ctx context.Context, id string) (Change, error) {
	return l.control(ctx, id, "cancel", StateCancelled)
}

// control does what is asked, after which the job has to be in one of the states.
func (l *Ledger) control(ctx context.Context, id, asked string, wanted ...State) (Change, error) {
	k := l.keys(id)
	states, err := controlScript.Run(ctx, l.client, []string{k.job, k.names, k.free}, asked).StringSlice()
	if err != nil {
		return Change{}, wrap(asked, err)
	}
	if len(states) == 0 {
		return Change{}, fmt.Errorf("ledger: %s: job %q: %w", asked, id, ErrNotFound)
	}
	c := Change{Was: State(states[0]), Is: State(states[1])}
	for _, state := range wanted {
		if c.Is == state {
			return c, nil
		}
	}
	return c, &StateError{ID: id, State: c.Is, Asked: asked}
}
