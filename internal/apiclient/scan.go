package apiclient

import "encoding/json"

// scanner walks one JSON text without copying it. Wherever it says ok, what it
// passed over is valid JSON; it is much faster than encoding/json on the short
// plain strings that answers are made of, and leaves the rest to json.Valid.
type scanner struct {
	b []byte
	i int // the cursor: index of the next byte
}

// literal is a string, or any other value, as it is written. A string stands
// here without its quotes.
type literal struct {
	raw     []byte
	start   int  // index of raw in the text
	escaped bool // a string with escapes in raw
}

// plain returns the bytes that are meant: raw itself if nothing is escaped.
func (l literal) plain() []byte {
	if !l.escaped {
		return l.raw
	}
	var s string
	_ = json.Unmarshal([]byte(`"`+string(l.raw)+`"`), &s) // valid: the scanner has passed it
	return []byte(s)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// at reports whether c is the next byte after space.
func (s *scanner) at(c byte) bool {
	s.space()
	return s.i < len(s.b) && s.b[s.i] == c
}

// take passes over c, if it is the next byte after space.
func (s *scanner) take(c byte) bool {
	if !s.at(c) {
		return false
	}
	s.i++
	return true
}

// done reports whether nothing but space is left.
func (s *scanner) done() bool {
	s.space()
	return s.i == len(s.b)
}

// text passes over a string.
func (s *scanner) text() (l literal, ok bool) {
	if !s.take('"') {
		return l, false
	}
	l.start = s.i
	for i := s.i; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			l.raw, s.i = s.b[l.start:i], i+1
			return l, !l.escaped || json.Valid(s.b[l.start-1:s.i])
		case c == '\\':
			l.escaped = true
			i++ // whatever is escaped ends no string
		case c < ' ':
			return l, false
		}
	}
	return l, false
}

// value passes over any value.
func (s *scanner) value() (l literal, ok bool) {
	if s.at('"') {
		return s.text()
	}
	l.start = s.i
	depth := 0
	for more := true; more && s.i < len(s.b); {
		switch c := s.b[s.i]; {
		case depth > 0 && c == '"':
			if _, ok := s.text(); !ok {
				return l, false
			}
		case c == '{', c == '[':
			depth++
			s.i++
		case depth > 0 && (c == '}' || c == ']'):
			depth--
			s.i++
			more = depth > 0
		case depth == 0 && (c == ',' || c == '}' || c == ']' || c <= ' '):
			more = false // the end of a number or a word; what follows is not ours
		default:
			s.i++
		}
	}
	l.raw = s.b[l.start:s.i]
	return l, json.Valid(l.raw)
}

// object passes over an object and calls member for each name, with the cursor
// before the value; member has to pass over that and may say no.
func (s *scanner) object(member func(name literal) bool) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		name, ok := s.text()
		if !ok || !s.take(':') || !member(name) {
			return false
		}
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}
