package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"crier/internal/ledger"
)

type rejectedCommand struct {
	JSON bool `name:"json" help:"Print an array with the payloads and all that is wrong with them."`
}

// Run lists what came over the raw queue and was no valid job, the newest first.
func (c *rejectedCommand) Run(ctx context.Context, a *app) error {
	if c.JSON {
		return a.rejectedJSON(ctx)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tTASK\tBYTES\tPROBLEM")
	for r, err := range a.ledger.Rejections(ctx, false) {
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", r.At.Format(time.RFC3339), shown(r.ID, 64), r.Bytes, shown(r.Problem, 120))
	}
	return w.Flush()
}

// shown is the first line of a text that anybody may have written, fit for a
// terminal and no longer than so many characters.
func shown(text string, most int) string {
	line, _, more := strings.Cut(text, "\n")
	runes := []rune(line)
	if len(runes) > most {
		runes, more = runes[:most], true
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = unicode.ReplacementChar
		}
	}
	if more {
		return string(runes) + " ..."
	}
	return string(runes)
}

// rejectedPayload is one element of the array, with the payload as text or else in base64.
type rejectedPayload struct {
	ID     string    `json:"id"` // of the task
	Type   string    `json:"type"`
	At     time.Time `json:"at"`
	Error  string    `json:"error"` // a line for each fault
	Bytes  int       `json:"bytes"`
	Text   *string   `json:"payload,omitzero"`
	Base64 []byte    `json:"payload_base64,omitzero"`
}

// rejectedJSON writes payloads one by one: they may be large.
func (a *app) rejectedJSON(ctx context.Context) error {
	out := jsontext.NewEncoder(a.out, jsontext.WithIndent("  "), jsontext.AllowInvalidUTF8(true))
	if err := out.WriteToken(jsontext.BeginArray); err != nil {
		return err
	}
	for r, err := range a.ledger.Rejections(ctx, true) {
		if err == nil {
			err = json.MarshalEncode(out, asRejected(r))
		}
		if err != nil {
			return err
		}
	}
	return out.WriteToken(jsontext.EndArray)
}

func asRejected(r ledger.Rejection) rejectedPayload {
	p := rejectedPayload{ID: r.ID, Type: r.Type, At: r.At.UTC(), Error: r.Problem, Bytes: r.Bytes}
	if text := string(r.Payload); utf8.ValidString(text) {
		p.Text = &text
	} else {
		p.Base64 = r.Payload
	}
	return p
}
