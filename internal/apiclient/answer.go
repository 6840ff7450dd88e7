package apiclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Answer is what a 200 said. Every target of the call that is neither in Failed
// nor in Missing was accepted. Unknown users are accepted too (vendor page).
type Answer struct {
	// Failed are the targets with another value than "success" or a message id,
	// by rising index.
	Failed []TargetFailure
	// Missing are the indices, rising, of targets about which nothing was said.
	Missing []int
	// IDs are the message ids by index, "" where none was given; nil without
	// Config.MessageIDs.
	IDs []string
}

// TargetFailure is a target of the call that was refused while others passed.
type TargetFailure struct {
	Index int
	Text  string // what the answer said: a string's text or any other value as JSON, at most 1 KiB
}

// verdict is what was said about a target so far.
type verdict byte

const (
	unsaid verdict = iota
	accepted
	refused
)

// reader reads answers, one at a time; its memory is used again.
type reader struct {
	scanner
	table
	body     bytes.Buffer // the answer as it came in
	verdicts []verdict
	secret   string // masked in failures

	call   Call
	filled bool // the table has the targets of the call
	next   int  // index of the target that is expected next, and
	at     int  // where its line begins
	tries  int  // how often ahead may still fail

	answer Answer
	source string // the answer as one string, which the message ids share
}

// read reads the body of a 200 and matches it to the call's targets. A target
// that is named more than once and refused once is refused.
func (r *reader) read(body []byte, call Call, ids bool) (Answer, error) {
	r.scanner = scanner{b: body}
	r.call, r.filled, r.next, r.at = call, false, 0, 0
	// Where no target needs an escape, what is written is what is meant.
	if r.tries = 0; !ids && bytes.IndexByte(call.Lines, '"') < 0 && bytes.IndexByte(call.Lines, '\\') < 0 {
		r.tries = 16
	}
	r.verdicts = slices.Grow(r.verdicts[:0], call.Count)[:call.Count]
	clear(r.verdicts)
	r.answer, r.source = Answer{}, ""
	if ids {
		r.answer.IDs = make([]string, call.Count)
		r.source = string(body)
	}
	found := false
	whole := r.object(func(name literal) bool {
		if string(name.plain()) != "data" {
			_, ok := r.value()
			return ok
		}
		found = true
		return r.object(r.target)
	}) && r.done()
	if !whole || !found {
		return Answer{}, whyUnreadable(body)
	}
	r.settle()
	return r.answer, nil
}

// target reads one pair of data. Names that are no target are passed over.
func (r *reader) target(name literal) bool {
	index := r.indexOf(name.plain())
	value, ok := r.value()
	if !ok || index < 0 || r.verdicts[index] == refused {
		return ok
	}
	said := value.plain()
	isID := digits(said) // also as a JSON number
	if !isID && string(said) != "success" {
		r.verdicts[index] = refused
		r.answer.Failed = append(r.answer.Failed, TargetFailure{index, cut(mask(string(said), r.secret), maxText)})
		if r.answer.IDs != nil {
			r.answer.IDs[index] = ""
		}
		return true
	}
	r.verdicts[index] = accepted
	if isID && r.answer.IDs != nil {
		r.answer.IDs[index] = r.source[value.start : value.start+len(value.raw)]
		if value.escaped {
			r.answer.IDs[index] = string(said)
		}
	}
	r.ahead()
	return true
}

// indexOf returns the index of the target called name, or -1. Answers are
// unordered by the vendor's word, but mostly come in the order of the call:
// then no target has to be looked up.
func (r *reader) indexOf(name []byte) int {
	if end := r.at + len(name); r.isLine(r.at, end) && bytes.Equal(r.call.Lines[r.at:end], name) && bytes.IndexByte(name, '\n') < 0 {
		r.next, r.at = r.next+1, end+1
		return r.next - 1
	}
	r.fillOnce()
	index := r.find(name)
	if index >= 0 {
		r.next, r.at = index+1, int(r.spans[index].end)+1
	}
	return index
}

// isLine reports whether a line of the call that begins at start ends at end.
func (r *reader) isLine(start, end int) bool {
	lines := r.call.Lines
	return start < end && (end == len(lines) || end < len(lines) && lines[end] == '\n')
}

func (r *reader) fillOnce() {
	if !r.filled {
		r.fill(r.call.Lines, r.call.Count)
		r.filled = true
	}
}

// ahead passes over further pairs of a target and "success", which is what
// answers are full of, with as few looks at each byte as can be. At anything
// else it stops before the comma.
func (r *reader) ahead() {
	for r.tries > 0 {
		name := after(r.b, r.i, ',') + 1 // behind its quote
		if name < 2 || name > len(r.b) || r.b[name-1] != '"' {
			return
		}
		end := bytes.IndexByte(r.b[name:], '"')
		if end < 0 {
			return
		}
		end += name
		index := r.indexOf(r.b[name:end])
		value := after(r.b, end+1, ':')
		if index < 0 || value < 0 || !bytes.HasPrefix(r.b[value:], successText) {
			r.tries--
			return
		}
		if r.verdicts[index] == unsaid {
			r.verdicts[index] = accepted
		}
		r.i = value + len(successText)
	}
}

var successText = []byte(`"success"`)

// after returns where the token behind c at i begins, with at most one space
// between them; -1 where there is no such c.
func after(b []byte, i int, c byte) int {
	if i >= len(b) || b[i] != c {
		return -1
	}
	if i++; i < len(b) && b[i] == ' ' {
		i++
	}
	return i
}

// settle gives targets that are named twice in the call the verdict of their
// first mention, and lists the missing.
func (r *reader) settle() {
	if !slices.Contains(r.verdicts, unsaid) && len(r.answer.Failed) == 0 {
		return
	}
	r.fillOnce() // which finds the twins
	for _, t := range r.twins {
		r.verdicts[t.again] = r.verdicts[t.first]
		if r.answer.IDs != nil {
			r.answer.IDs[t.again] = r.answer.IDs[t.first]
		}
		at := slices.IndexFunc(r.answer.Failed, func(f TargetFailure) bool { return f.Index == t.first })
		if at >= 0 {
			r.answer.Failed = append(r.answer.Failed, TargetFailure{t.again, r.answer.Failed[at].Text})
		}
	}
	slices.SortFunc(r.answer.Failed, func(a, b TargetFailure) int { return cmp.Compare(a.Index, b.Index) })
	for i, v := range r.verdicts {
		if v == unsaid {
			r.answer.Missing = append(r.answer.Missing, i)
		}
	}
}

func digits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) > 0
}

// whyUnreadable says what is wrong with the body of a 200 that told nothing.
func whyUnreadable(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return errors.New("the answer is empty")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	return errors.New("the answer has no data object")
}
