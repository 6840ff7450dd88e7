package gate

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseQuotas(t *testing.T) {
	for text, want := range map[string]Quotas{
		"auto":           {},
		" auto\n":        {},
		"users=100/s":    {"users": {{100, false, time.Second}}},
		"users=6000t/m":  {"users": {{6000, true, time.Minute}}},
		"rooms=20/5s":    {"rooms": {{20, false, 5 * time.Second}}},
		"rooms=1t/1ms":   {"rooms": {{1, true, time.Millisecond}}},
		"rooms=9/1h2m3s": {"rooms": {{9, false, time.Hour + 2*time.Minute + 3*time.Second}}},
		"users=100/s,6000t/m;rooms=20/s,20t/s": {
			"users": {{100, false, time.Second}, {6000, true, time.Minute}},
			"rooms": {{20, false, time.Second}, {20, true, time.Second}},
		},
		" users = 100/s , 10/m ; rooms=1/s ": {
			"users": {{100, false, time.Second}, {10, false, time.Minute}},
			"rooms": {{1, false, time.Second}},
		},
	} {
		got, err := ParseQuotas(text, "users", "rooms")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
}

func TestParseQuotasRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                             `"" is neither auto nor TYPE=RATE`,
		"Auto":                         `"Auto" is neither`,
		"100/s":                        `"100/s" is neither`,
		"users=1/s;":                   `"" is neither`,
		"user=1/s":                     `"user" is no target type (users, rooms)`,
		"=1/s":                         `"" is no target type`,
		"auto=1/s":                     `"auto" is no target type`,
		"users=1/s;users=2/m":          "users stands twice",
		"users=":                       `users: "" is no rate such as 100/s`,
		"users=1/s,":                   `users: "" is no rate`,
		"users=100":                    `"100" is no rate`,
		"users=/s":                     `"/s" is no rate`,
		"users=0/s":                    `"0/s" is no rate`,
		"users=-1/s":                   `"-1/s" is no rate`,
		"users=1.5/s":                  `"1.5/s" is no rate`,
		"users=99999999999999999999/s": `is no rate`,
		"users=100T/s":                 `"100T/s" is no rate`,
		"users=tt/s":                   `"tt/s" is no rate`,
		"users=1/":                     `the window ""`,
		"users=1/h":                    `the window "h" is neither s, m nor a duration`,
		"users=1/0s":                   `the window "0s"`,
		"users=1/-5s":                  `the window "-5s"`,
		"users=1/1us":                  `the window "1us"`,
		"users=1/s/s":                  `the window "s/s"`,
		"users=1/s,2/1000ms":           `users: "2/1000ms": its window stands twice`,
		"users=1t/60s,2t/m":            `users: "2t/m": its window stands twice`,
	} {
		if _, err := ParseQuotas(text, "users", "rooms"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestParseQuotasReportsAllFaults(t *testing.T) {
	_, err := ParseQuotas("x;users=1/h,2/s,zz;chats=1/s", "users")
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 4 {
		t.Fatalf("%v", err)
	}
	for i, want := range []string{`"x"`, `"1/h"`, `"zz"`, `"chats"`} {
		if got := joined.Unwrap()[i].Error(); !strings.Contains(got, want) {
			t.Errorf("fault %d is %q, want %s", i, got, want)
		}
	}
}

func TestQuotasSurviveTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := []string{"users", "chatgroups", "chatrooms"}
		want, parts := Quotas{}, []string{}
		for _, name := range types[:rapid.IntRange(1, 3).Draw(t, "types")] {
			var rates []string
			for range rapid.IntRange(1, 4).Draw(t, "rates") {
				r := Rate{rapid.IntRange(1, 1<<40).Draw(t, "n"), rapid.Bool().Draw(t, "targets"), drawWindow(t)}
				if !slices.ContainsFunc(want[name], r.sameWindow) {
					want[name], rates = append(want[name], r), append(rates, r.String())
				}
			}
			parts = append(parts, name+"="+strings.Join(rates, ","))
		}
		text := strings.Join(parts, ";")
		got, err := ParseQuotas(text, types...)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	})
}

func drawWindow(t *rapid.T) time.Duration {
	return rapid.OneOf(
		rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}),
		rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(48*time.Hour)).Draw(t, "ns"))
		}),
	).Draw(t, "window")
}

func TestMaxTargets(t *testing.T) {
	for text, want := range map[string]int{
		"auto":                      0,
		"users=100/s":               0,
		"users=6000t/m":             6000,
		"users=100/s,600t/s,900t/m": 600,
		"users=900t/m,600t/s":       600,
		"rooms=5t/s":                0,
	} {
		quotas, err := ParseQuotas(text, "users", "rooms")
		if got := quotas.MaxTargets("users"); got != want || err != nil {
			t.Errorf("%q: %d, want %d (%v)", text, got, want, err)
		}
	}
}
