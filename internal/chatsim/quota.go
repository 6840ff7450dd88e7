package chatsim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// QuotaMode says how a limit's window moves. No vendor document says which one
// the real service uses, so a sender has to live with all of them.
type QuotaMode string

const (
	// ModeFixed counts from zero in every window, aligned to the clock: twice
	// the limit can pass around a window's edge.
	ModeFixed QuotaMode = "fixed"
	// ModeSliding allows the limit in any stretch of one window's length.
	ModeSliding QuotaMode = "sliding"
	// ModeBucket is a token bucket that holds the limit and refills evenly.
	ModeBucket QuotaMode = "bucket"
)

// Limit bounds either the calls or the targets of one window.
type Limit struct {
	Calls   int           // calls per window, or 0
	Targets int           // targets per window, each counting as one message, or 0
	Window  time.Duration // more than 0
	Mode    QuotaMode     // empty = ModeFixed
}

// Quotas holds the limits of each target type; all of them apply.
type Quotas map[TargetType][]Limit

// Validate reports every fault of the quotas at once.
func (q Quotas) Validate() error {
	var errs []error
	for _, targetType := range slices.Sorted(maps.Keys(q)) {
		if !targetType.known() {
			errs = append(errs, fmt.Errorf("quota: unknown target type %q", targetType))
		}
		for _, l := range q[targetType] {
			if l.Calls < 0 || l.Targets < 0 || (l.Calls > 0) == (l.Targets > 0) {
				errs = append(errs, fmt.Errorf("quota: %s: a limit is on calls or on targets, and above 0", targetType))
			}
			if l.Window <= 0 {
				errs = append(errs, fmt.Errorf("quota: %s: window must be above 0, but is %v", targetType, l.Window))
			}
			switch l.Mode {
			case "", ModeFixed, ModeSliding, ModeBucket:
			default:
				errs = append(errs, fmt.Errorf("quota: %s: unknown mode %q (fixed, sliding or bucket)", targetType, l.Mode))
			}
		}
	}
	return errors.Join(errs...)
}

// ParseQuotas reads quotas as text: per target type, limits of calls ("N/W")
// and of targets ("Nt/W"), each with an optional "@mode":
//
//	users=100/s,6000t/m@sliding;chatgroups=20/s,20t/s
//
// W is s, m, h or a duration such as 5s. Empty text means no quotas. The error
// names every fault.
func ParseQuotas(text string) (Quotas, error) {
	quotas := Quotas{}
	var errs []error
	for _, entry := range splitList(text, ";") {
		name, limits, found := strings.Cut(entry, "=")
		targetType := TargetType(strings.TrimSpace(name))
		if !found || !targetType.known() {
			errs = append(errs, fmt.Errorf("quota: %q is not TARGET_TYPE=LIMITS with users, chatgroups or chatrooms", entry))
			continue
		}
		for _, part := range splitList(limits, ",") {
			limit, err := parseLimit(part)
			if err != nil {
				errs = append(errs, fmt.Errorf("quota: %s: %w", targetType, err))
				continue
			}
			quotas[targetType] = append(quotas[targetType], limit)
		}
	}
	if err := errors.Join(append(errs, quotas.Validate())...); err != nil {
		return nil, err
	}
	return quotas, nil
}

// parseLimit reads one limit, such as 6000t/m@sliding.
func parseLimit(text string) (Limit, error) {
	rate, mode, hasMode := strings.Cut(text, "@")
	count, window, _ := strings.Cut(rate, "/")
	digits, isTargets := strings.CutSuffix(count, "t")
	n, err := strconv.Atoi(digits)
	if err != nil || n <= 0 {
		return Limit{}, fmt.Errorf("%q is not N/W or Nt/W with N above 0", text)
	}
	limit := Limit{Calls: n, Mode: ModeFixed}
	if isTargets {
		limit.Calls, limit.Targets = 0, n
	}
	if hasMode {
		limit.Mode = QuotaMode(mode)
	}
	switch window {
	case "s", "m", "h":
		window = "1" + window
	}
	if limit.Window, err = time.ParseDuration(window); err != nil {
		return Limit{}, fmt.Errorf("%q: the window must be s, m, h or a duration such as 5s", text)
	}
	return limit, nil
}

// splitList splits text at the separators and drops blanks and empty parts.
func splitList(text, separator string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, separator) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
