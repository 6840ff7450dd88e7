package tasks

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// Policy bounds the attempts on one target.
type Policy struct {
	MaxAttempts int // 0 = no cap
	// GiveUpAfter counts from the target's own first failed attempt, but only the
	// time in which it waited for its next one; 0 = never.
	GiveUpAfter time.Duration
}

// spent reports whether targets with such a history are not to be tried again.
func (p Policy) spent(h history) bool {
	return p.MaxAttempts > 0 && h.attempts >= p.MaxAttempts || p.GiveUpAfter > 0 && h.waited >= p.GiveUpAfter
}

// missingAttempts is how often targets are sent again that a 200 does not
// mention: its answer was not lost, the API just does not say.
const missingAttempts = 3

// The results of calls that were accepted, and of those that say nothing; all
// others are named by the kind of the answer or the reason of the outcome.
const (
	resultSent         = "sent"
	resultPartly       = "partly_sent"
	resultNotMentioned = "not_mentioned" // a 200 without a word of any target
	resultNotMade      = "not_made"      // Redis had not heard of the worker in time
)

// decision is everything that follows from one answer.
type decision struct {
	result  string          // for logs and metrics
	updates []ledger.Update // what became of the targets
	again   bool            // some are still pending:
	left    batch           // these, with their history
	delay   time.Duration   // before their next attempt
	most    int             // targets of a batch from now on, 0 = as many as fit
	hold    *gate.Hold      // what the answer means for all other calls
	held    *decision       // what follows instead where the gate then holds them; nil = the same
	scope   apiclient.Scope // with a throttled call, the quota that refused it,
	asked   time.Duration   // and how long it asked to wait
	shed    bool            // the API might have taken the call at a lower rate
}

// success reports whether the API has accepted something of the call.
func (d decision) success() bool { return d.result == resultSent || d.result == resultPartly }

// throttled is 1 if the call was refused for a quota.
func (d decision) throttled() int {
	if d.scope != "" {
		return 1
	}
	return 0
}

// decide is the one place in which an answer of the Chat API becomes an
// outcome. Every kind of answer has one row. It looks at nothing but its
// arguments; now is the time of the answer.
func decide(b batch, answer apiclient.Answer, err error, holdLost bool, p Policy, now time.Time) decision {
	if err == nil {
		return accepted(b, answer, holdLost, p, now)
	}
	var e *apiclient.Error
	if !errors.As(err, &e) {
		e = &apiclient.Error{Kind: apiclient.KindUnknown, Err: err} // not from Send: nothing is known
	}
	detail, asked := detailOf(e), min(e.RetryAfter, longestAsked)
	switch e.Kind {
	case apiclient.KindRejected:
		return orSplit(b, ledger.Rejected, detail).unlessAll(b, alike(e), now)
	case apiclient.KindTooLarge:
		b.tooLarge = b.bytes
		return orSplit(b, ledger.TooLarge, detail).unlessAll(b, alike(e), now)
	case apiclient.KindTooMany:
		if e.Limit < 1 || e.Limit >= len(b.index) {
			return orSplit(b, ledger.Rejected, detail).unlessAll(b, alike(e), now)
		}
		d := waits(b, string(e.Kind), nil)
		d.most, d.left.limit = e.Limit, e.Limit
		return d
	case apiclient.KindNotAllowed:
		return ends(b, ledger.NotAllowed, detail).unlessAll(b, alike(e), now)
	case apiclient.KindUnsupported:
		return ends(b, ledger.Unsupported, detail).unlessAll(b, alike(e), now)
	case apiclient.KindThrottled:
		d := waits(b, string(e.Kind), nil)
		d.scope, d.asked = e.Scope, asked
		return d
	case apiclient.KindUnauthorized:
		return waits(b, string(e.Kind), &gate.Hold{Reason: gate.ReasonUnauthorized, Base: holdBase, Max: holdMax, Asked: asked})
	case apiclient.KindUnknownApp:
		return waits(b, string(e.Kind), &gate.Hold{Reason: gate.ReasonUnknownApp, Base: holdBase, Max: holdMax, Asked: asked})
	case apiclient.KindPlan:
		return waits(b, string(e.Kind), &gate.Hold{Reason: gate.ReasonPlan, Base: time.Minute, Max: 10 * time.Minute, Asked: asked})
	case apiclient.KindNoToken:
		d := waits(b, string(e.Kind), nil)
		d.delay = max(tokenDelay, asked)
		return d
	case apiclient.KindUnavailable:
		d := fails(b, ledger.Refused, e, p, now).unlessAway(b, b.notDone(), asked)
		d.shed = e.Status == http.StatusServiceUnavailable
		return d
	default: // apiclient.KindUnknown
		if holdLost {
			d := ends(b, ledger.AnswerLost, detail)
			d.hold = away(asked)
			return d
		}
		return fails(b, ledger.Lost, e, p, now).unlessAway(b, ledger.Lost, asked)
	}
}

// unlessAll leaves the targets alone where the API refuses whatever is sent: ten
// batches in a row, and no success between. Then a rule has changed, or a setting
// is wrong, and no target is at fault. What was refused before others passed says
// nothing of that.
func (d decision) unlessAll(b batch, alike string, now time.Time) decision {
	if b.refused.IsZero() {
		d.left.refused, b.refused = now, now
	}
	if b.cleared {
		return d
	}
	d.hold = &gate.Hold{Reason: gate.ReasonRejected, Row: 10, Alike: alike, Base: firstProbe, Max: holdBase}
	held := stays(b, b.notDone(), d.result)
	held.left.tried = true
	d.held = &held
	return d
}

// alike is what refusals have in common that stand in a row.
func alike(e *apiclient.Error) string { return strconv.Itoa(e.Status) + " " + e.Code }

// unlessAway lets the attempt not count where the API is away.
func (d decision) unlessAway(b batch, code ledger.Code, asked time.Duration) decision {
	d.hold = away(asked)
	held := stays(b, code, d.result)
	d.held = &held
	return d
}

// away is the hold for an API that is: ten calls in a row without an answer of
// its own, or fewer where few are made.
func away(asked time.Duration) *gate.Hold {
	return &gate.Hold{Reason: gate.ReasonOutage, Row: 10, Few: 10 * time.Second, Base: holdBase, Max: holdBase, Asked: asked}
}

// tokenDelay is how long to wait where no token is to be had: there is not more
// than one fetch in this time (CHAT-API: "Errors").
const tokenDelay = 2 * time.Second

// Holds for what a person has to put right.
const (
	holdBase = 5 * time.Second
	holdMax  = time.Minute
	// firstProbe is soon: a list in which every batch has a bad target is no rare
	// one, and a call with a single target tells.
	firstProbe = 250 * time.Millisecond
	// longestAsked bounds how long one answer can hold all calls back.
	longestAsked = 10 * time.Minute
)

// accepted sorts the targets of a 200.
func accepted(b batch, answer apiclient.Answer, holdLost bool, p Policy, now time.Time) decision {
	d := decision{result: resultSent}
	calls := b.attempts + 1
	skip := make(map[int]bool, len(answer.Failed)+len(answer.Missing))
	for _, f := range answer.Failed {
		skip[f.Index] = true
		d.result = resultPartly
		d.updates = append(d.updates, ledger.Update{
			Index: b.index[f.Index : f.Index+1], Code: ledger.Rejected, Attempts: calls, Detail: f.Text,
		})
	}
	if len(answer.Missing) > 0 {
		d.result = resultPartly
		for _, i := range answer.Missing {
			skip[i] = true
		}
		code := ledger.AnswerLost
		if history := (history{attempts: calls}); !holdLost && calls < missingAttempts && !p.spent(history) {
			code, d.again = ledger.Lost, true
			d.left = b.only(answer.Missing)
			d.left.attempts, d.left.code = calls, code
			d.delay = delayAfter(calls)
		}
		d.updates = append(d.updates, ledger.Update{
			Index: b.only(answer.Missing).index, Code: code, Attempts: calls, Detail: "the answer did not mention it",
		})
	}
	sent := ledger.Update{Index: b.index, Code: ledger.Sent, Attempts: calls, IDs: answer.IDs}
	if len(skip) > 0 {
		sent.Index, sent.IDs = nil, nil
		for i, at := range b.index {
			if !skip[i] {
				sent.Index = append(sent.Index, at)
				if answer.IDs != nil {
					sent.IDs = append(sent.IDs, answer.IDs[i])
				}
			}
		}
	}
	d.updates = append(d.updates, sent)
	if len(answer.Missing) == len(b.index) { // whatever the API has done, it does not say
		d.result, d.hold = resultNotMentioned, away(0)
		if !holdLost {
			held := stays(b, ledger.Lost, d.result)
			d.held = &held
		}
	}
	if len(answer.Failed) == len(b.index) { // no success at all
		d.result = ledger.Rejected.Reason()
		return d.unlessAll(b, "200 "+answer.Failed[0].Text, now)
	}
	return d
}

// ends settles all targets of the batch.
func ends(b batch, code ledger.Code, detail string) decision {
	return decision{
		result:  code.Reason(),
		updates: []ledger.Update{{Index: b.index, Code: code, Attempts: b.attempts + 1, Detail: detail}},
	}
}

// orSplit settles a single target; of several, any one may be the cause, so
// the call is made again in halves until it is found.
func orSplit(b batch, code ledger.Code, detail string) decision {
	if len(b.index) == 1 {
		return ends(b, code, detail)
	}
	d := waits(b, code.Reason(), nil)
	d.most = (len(b.index) + 1) / 2
	return d
}

// waits keeps the targets for the same call again; the attempt does not count,
// since its cause was none of theirs.
func waits(b batch, result string, hold *gate.Hold) decision {
	d := stays(b, b.notDone(), result)
	d.hold = hold
	return d
}

// stays keeps the targets pending with nothing counted against them.
func stays(b batch, code ledger.Code, result string) decision {
	b.code = code
	return decision{
		result: result, again: true, left: b,
		updates: []ledger.Update{{Index: b.index, Code: b.code, Attempts: b.attempts}},
	}
}

// fails counts an attempt against the targets and tries again later, unless
// the policy gives them up.
func fails(b batch, code ledger.Code, e *apiclient.Error, p Policy, now time.Time) decision {
	if b.code = b.notDone(); code == ledger.Lost {
		b.code = code
	}
	if !b.last.IsZero() {
		b.waited += ledger.Waited(b.attempts, now.Sub(b.last))
	}
	b.last = now
	b.attempts++
	if p.spent(b.history) {
		end := ledger.GaveUp
		if b.lost() {
			end = ledger.AnswerLost
		}
		b.attempts-- // ends counts this one
		return ends(b, end, detailOf(e))
	}
	return decision{
		result: string(e.Kind), again: true, left: b, delay: max(delayAfter(b.attempts), e.RetryAfter),
		updates: []ledger.Update{{Index: b.index, Code: b.code, Attempts: b.attempts, Detail: detailOf(e)}},
	}
}

// detailOf is what result rows say about an answer: the API's own words.
func detailOf(e *apiclient.Error) string {
	text := strings.TrimPrefix(e.Error(), "apiclient: send: ")
	if e.Description != "" {
		text += ": " + e.Description
	}
	return text
}

// delayAfter returns how long to wait after so many failed attempts: exponential,
// spread over the whole interval (full jitter).
func delayAfter(attempts int) time.Duration {
	longest := ledger.LongestWait(attempts)
	spread := backoff.NewExponentialBackOff( // one interval, half of it either way
		backoff.WithInitialInterval(longest/2), backoff.WithRandomizationFactor(1), backoff.WithMaxInterval(longest), backoff.WithMaxElapsedTime(0),
	)
	return min(spread.NextBackOff(), longest)
}
