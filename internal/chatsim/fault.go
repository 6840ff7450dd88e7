package chatsim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// FaultKind names one way a message call or an upload goes wrong.
type FaultKind string

// The kinds whose call is not accepted: it is neither examined nor counted in
// the journal, uses up no quota, and its file is not kept.
const (
	FaultThrottle    FaultKind = "throttle"    // 429 reach_limit, however few calls there were
	FaultReachLimit  FaultKind = "reach_limit" // 403 message_send_error, as if a target quota were used up
	FaultUnavailable FaultKind = "unavailable" // 503, empty body
	FaultError       FaultKind = "error"       // 500
	FaultHTML        FaultKind = "html"        // 502, a proxy's HTML page
	FaultReset       FaultKind = "reset"       // the connection is reset after the request was read
	FaultHang        FaultKind = "hang"        // no answer until the client leaves
	FaultReject      FaultKind = "reject"      // 400 illegal_argument
	FaultForbidden   FaultKind = "forbidden"   // 403 forbidden_op
)

// The kinds whose call is examined and accepted as usual before its answer is
// spoilt; a call that the rules refuse anyway keeps its plain refusal. On the
// wire the first four are no different from their counterparts above: only the
// journal tells.
const (
	FaultErrorAfter          FaultKind = "error_after"           // 500
	FaultHTMLAfter           FaultKind = "html_after"            // 502, a proxy's HTML page
	FaultResetAfter          FaultKind = "reset_after"           // the connection is reset
	FaultHangAfter           FaultKind = "hang_after"            // no answer until the client leaves
	FaultGatewayTimeoutAfter FaultKind = "gateway_timeout_after" // 504, a proxy's HTML page
	FaultTruncated           FaultKind = "truncated"             // 200, the connection ends in the middle of the body
	FaultEmpty               FaultKind = "empty"                 // 200, empty body
	FaultSlow                FaultKind = "slow"                  // the right answer, after Delay
)

// Fault is one kind of trouble and how often it strikes. Only message calls and
// uploads meet faults.
type Fault struct {
	Kind FaultKind
	// Percent of message calls, and of uploads, above 0; all faults together at
	// most 100.
	Percent float64
	// Delay passes before the fault shows, on top of the latency. 0 = none.
	Delay time.Duration
	// RetryAfter sets the Retry-After header (whole seconds, rounded up) of
	// FaultThrottle and FaultUnavailable; other kinds have none. 0 = no header.
	RetryAfter time.Duration
}

// effect is what a kind does to its call.
type effect struct {
	accepted bool    // the call goes its way, only the answer is spoilt
	refusal  refusal // answered instead, unless it is empty
	ending   ending  // how the answer ends
}

var effects = map[FaultKind]effect{
	FaultThrottle:    {refusal: tooManyCalls},
	FaultReachLimit:  {refusal: tooManyTargets},
	FaultUnavailable: {refusal: unavailable},
	FaultError:       {refusal: serverError},
	FaultHTML:        {refusal: proxyPage(http.StatusBadGateway)},
	FaultReset:       {ending: endReset},
	FaultHang:        {ending: endHang},
	FaultReject:      {refusal: illegalArgument("the request was refused")},
	FaultForbidden:   {refusal: forbidden},

	FaultErrorAfter:          {accepted: true, refusal: serverError},
	FaultHTMLAfter:           {accepted: true, refusal: proxyPage(http.StatusBadGateway)},
	FaultResetAfter:          {accepted: true, ending: endReset},
	FaultHangAfter:           {accepted: true, ending: endHang},
	FaultGatewayTimeoutAfter: {accepted: true, refusal: proxyPage(http.StatusGatewayTimeout)},
	FaultTruncated:           {accepted: true, ending: endTruncated},
	FaultEmpty:               {accepted: true, ending: endEmpty},
	FaultSlow:                {accepted: true},
}

// ValidateFaults reports every fault of the list at once.
func ValidateFaults(faults []Fault) error {
	var errs []error
	total := 0.0
	for _, f := range faults {
		if _, known := effects[f.Kind]; !known {
			errs = append(errs, fmt.Errorf("faults: unknown kind %q", f.Kind))
		}
		if !(f.Percent > 0 && f.Percent <= 100) {
			errs = append(errs, fmt.Errorf("faults: %s: percent must be above 0 and at most 100, but is %v", f.Kind, f.Percent))
		}
		if f.Delay < 0 || f.RetryAfter < 0 {
			errs = append(errs, fmt.Errorf("faults: %s: delay and retry_after must not be negative", f.Kind))
		}
		if f.RetryAfter > 0 && f.Kind != FaultThrottle && f.Kind != FaultUnavailable {
			errs = append(errs, fmt.Errorf("faults: %s: only throttle and unavailable have a retry_after", f.Kind))
		}
		total += f.Percent
	}
	if total > 100 {
		errs = append(errs, fmt.Errorf("faults: together %v percent, but at most 100", total))
	}
	return errors.Join(errs...)
}

// ParseFaults reads faults as text, KIND=PERCENT with optional durations:
//
//	throttle=5:retry_after=2s,reset=3,slow=1:delay=3s
//
// Empty text means no faults. The error names every fault of the text.
func ParseFaults(text string) ([]Fault, error) {
	var faults []Fault
	var errs []error
	for _, part := range splitList(text, ",") {
		fault, err := parseFault(part)
		if err != nil {
			errs = append(errs, fmt.Errorf("faults: %q: %w", part, err))
			continue
		}
		faults = append(faults, fault)
	}
	if err := errors.Join(append(errs, ValidateFaults(faults))...); err != nil {
		return nil, err
	}
	return faults, nil
}

func parseFault(text string) (Fault, error) {
	rate, options, _ := strings.Cut(text, ":")
	kind, percent, found := strings.Cut(rate, "=")
	n, err := strconv.ParseFloat(percent, 64)
	if !found || err != nil {
		return Fault{}, errors.New("want KIND=PERCENT")
	}
	fault := Fault{Kind: FaultKind(kind), Percent: n}
	for _, option := range splitList(options, ":") {
		name, value, _ := strings.Cut(option, "=")
		duration, err := time.ParseDuration(value)
		switch {
		case err != nil:
			return Fault{}, fmt.Errorf("%s needs a duration such as 2s", name)
		case name == "delay":
			fault.Delay = duration
		case name == "retry_after":
			fault.RetryAfter = duration
		default:
			return Fault{}, fmt.Errorf("unknown option %s (delay or retry_after)", name)
		}
	}
	return fault, nil
}

// drawFault decides whether a call meets a fault. It uses up one number of
// rng whatever the faults are, so that changing them keeps the rest in step.
func drawFault(faults []Fault, rng *rand.Rand) (Fault, bool) {
	at := rng.Float64() * 100
	for _, f := range faults {
		if at < f.Percent {
			return f, true
		}
		at -= f.Percent
	}
	return Fault{}, false
}
