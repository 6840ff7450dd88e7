package gate

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Auto is the quota text that stands for "not known: learn it from the answers".
const Auto = "auto"

// Rate is one limit: at most N calls, or N targets, in any Window.
type Rate struct {
	N       int
	Targets bool // N counts targets, not calls
	Window  time.Duration
}

// String writes r as ParseQuotas reads it: 100/s, 6000t/m, 20/5s.
func (r Rate) String() string {
	var unit, window string
	if r.Targets {
		unit = "t"
	}
	switch r.Window {
	case time.Second:
		window = "s"
	case time.Minute:
		window = "m"
	default:
		window = r.Window.String()
	}
	return fmt.Sprintf("%d%s/%s", r.N, unit, window)
}

// Quotas are the known limits of each target type. Those of a type without any
// are learned.
type Quotas map[string][]Rate

// ParseQuotas reads text such as "users=100/s,6000t/m;chatgroups=20/s,20t/s",
// in which types are the target types that may stand there, or "auto", which
// knows no limit. Of calls and of targets a type may have one rate for each
// window. It reports all faults together.
func ParseQuotas(text string, types ...string) (Quotas, error) {
	quotas := Quotas{}
	if strings.TrimSpace(text) == Auto {
		return quotas, nil
	}
	var errs []error
	for part := range strings.SplitSeq(text, ";") {
		name, list, found := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		switch {
		case !found:
			errs = append(errs, fmt.Errorf("%q is neither auto nor TYPE=RATE,RATE", strings.TrimSpace(part)))
			continue
		case !slices.Contains(types, name):
			errs = append(errs, fmt.Errorf("%q is no target type (%s)", name, strings.Join(types, ", ")))
			continue
		case quotas[name] != nil:
			errs = append(errs, fmt.Errorf("%s stands twice", name))
			continue
		}
		for item := range strings.SplitSeq(list, ",") {
			rate, err := parseRate(strings.TrimSpace(item))
			if err == nil && slices.ContainsFunc(quotas[name], rate.sameWindow) {
				err = fmt.Errorf("%q: its window stands twice", strings.TrimSpace(item))
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
				continue
			}
			quotas[name] = append(quotas[name], rate)
		}
	}
	return quotas, errors.Join(errs...)
}

// sameWindow reports whether two rates bound the same count in the same
// window; the gate keeps one record for both, so there may be only one.
func (r Rate) sameWindow(other Rate) bool {
	return r.Targets == other.Targets && r.Window == other.Window
}

func parseRate(text string) (Rate, error) {
	count, window, found := strings.Cut(text, "/")
	number, targets := strings.CutSuffix(count, "t")
	n, err := strconv.Atoi(number)
	if !found || err != nil || n < 1 {
		return Rate{}, fmt.Errorf("%q is no rate such as 100/s (calls) or 6000t/m (targets)", text)
	}
	r := Rate{N: n, Targets: targets}
	switch window {
	case "s":
		r.Window = time.Second
	case "m":
		r.Window = time.Minute
	default:
		if r.Window, err = time.ParseDuration(window); err != nil || r.Window < time.Millisecond {
			return Rate{}, fmt.Errorf("%q: the window %q is neither s, m nor a duration such as 5s", text, window)
		}
	}
	return r, nil
}

// MaxTargets returns the targets that one call may have so that it fits every
// window of the type, or 0 where no quota bounds them.
func (q Quotas) MaxTargets(targetType string) int {
	most := 0
	for _, r := range q[targetType] {
		if r.Targets && (most == 0 || r.N < most) {
			most = r.N
		}
	}
	return most
}
