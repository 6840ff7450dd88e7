package ledger

// Code is the state of one target, one byte in Redis. It stands for an outcome
// and, where there is one, its reason.
type Code byte

// The codes. The zero byte is what Redis itself fills gaps with.
const (
	Fresh    Code = 0   // pending: never sent
	InFlight Code = 'i' // pending: a call with it is, or was, on its way
	Refused  Code = 't' // pending: a call with it was refused, it will be tried again
	Lost     Code = 'l' // pending: the answer to the last call with it was lost, it will be sent again
	Doubtful Code = 'd' // pending: Lost once, and refused when it was sent again

	Sent        Code = 's'
	AnswerLost  Code = 'u' // unknown: the call may or may not have been carried out
	Rejected    Code = 'r' // failed: the API refuses this request or this target
	NotAllowed  Code = 'n' // failed: the API does not permit it
	TooLarge    Code = 'b' // failed: too large even alone
	Unsupported Code = 'w' // failed: the API does not offer this call
	GaveUp      Code = 'g' // failed: GIVE_UP_AFTER or MAX_ATTEMPTS was reached
	Cancelled   Code = 'c' // cancelled: by a user
	Expired     Code = 'x' // cancelled: expires_at passed
)

// Outcome is what became of a target, as users see it.
type Outcome string

// The outcomes.
const (
	OutcomePending   Outcome = "pending"
	OutcomeSent      Outcome = "sent"
	OutcomeFailed    Outcome = "failed"
	OutcomeUnknown   Outcome = "unknown"
	OutcomeCancelled Outcome = "cancelled"
)

// Outcomes lists them all, pending first.
func Outcomes() []Outcome {
	return []Outcome{OutcomePending, OutcomeSent, OutcomeFailed, OutcomeUnknown, OutcomeCancelled}
}

// Outcome returns the outcome that c stands for.
func (c Code) Outcome() Outcome {
	switch c {
	case Sent:
		return OutcomeSent
	case AnswerLost:
		return OutcomeUnknown
	case Rejected, NotAllowed, TooLarge, Unsupported, GaveUp:
		return OutcomeFailed
	case Cancelled, Expired:
		return OutcomeCancelled
	default:
		return OutcomePending
	}
}

// Reason returns why a target is not sent: a key of the status document's
// "reasons", or "" where the outcome says all. The set is closed.
func (c Code) Reason() string {
	switch c {
	case AnswerLost:
		return "answer_lost"
	case Rejected:
		return "rejected"
	case NotAllowed:
		return "not_allowed"
	case TooLarge:
		return "too_large"
	case Unsupported:
		return "unsupported"
	case GaveUp:
		return "gave_up"
	case Cancelled:
		return "cancelled"
	case Expired:
		return "expired"
	default:
		return ""
	}
}

// final reports whether c is left for nothing but a truer outcome.
func (c Code) final() bool { return c.Outcome() != OutcomePending }
