package targets

import (
	"bytes"
	"hash/maphash"
)

// Verdict is what a Set says of a name.
type Verdict uint8

// The verdicts.
const (
	Fresh    Verdict = iota // met for the first time
	Repeated                // met before
	Excluded                // excluded beforehand, however often it is met
)

// Tally counts names by the verdict on them.
type Tally [Excluded + 1]int

// ahead is how many names Sift looks up at a time: more than a processor can
// wait for at once.
const ahead = 64

// Set tells fresh names from repeated and excluded ones. It keeps of a name only
// a hash of 96 bits under random seeds: that any two of ten million different
// names are taken for one has a probability below 1e-15, far less than that of a
// memory fault, and nobody can make up such names.
//
// Ten million names take about 160 MB, and none an allocation of its own. Names are compared byte by byte: normalize them first. A Set is not for
// concurrent use; make one with NewSet.
type Set struct {
	high, low maphash.Seed // of the halves of a key
	table     table
	fresh     int
	read      uint8 // what Sift has read only to have read it
}

// NewSet makes an empty set.
func NewSet() *Set {
	return &Set{high: maphash.MakeSeed(), low: maphash.MakeSeed()}
}

// Len is the number of different names met, excluded ones left out.
func (s *Set) Len() int { return s.fresh }

// Exclude makes Excluded the verdict on name from now on. If name was met before
// it does nothing, so exclude first.
func (s *Set) Exclude(name []byte) {
	s.table.insert(entry{key: s.key(name), excluded: 1})
}

// Meet gives the verdict on name, and remembers the name.
func (s *Set) Meet(name []byte) Verdict { return s.meet(s.key(name)) }

// Add is Meet for those who only ask whether the name is fresh.
func (s *Set) Add(name []byte) (fresh bool) { return s.Meet(name) == Fresh }

// Has tells whether name was met or excluded, and does not remember it.
func (s *Set) Has(name []byte) bool {
	if s.table.taken == 0 {
		return false
	}
	_, _, found := s.table.find(s.key(name))
	return found
}

// Sift meets the names of lines, each ended by LF, and keeps the fresh ones, in
// place and in order. Its verdicts are those of Meet, in about half the time: a
// large set mostly waits for memory, and Sift waits for many names at once.
func (s *Set) Sift(lines []byte) (kept []byte, met Tally) {
	if s.table.size == 0 {
		s.table.grow()
	}
	var keys [ahead]key
	var homes [ahead]*bucket
	var ends [ahead]int // of the names' lines
	kept = lines[:0]
	for len(lines) > 0 {
		count, rest := 0, lines
		for ; count < ahead && len(rest) > 0; count++ {
			var name []byte
			name, rest, _ = bytes.Cut(rest, []byte{'\n'})
			keys[count] = s.key(name)
			homes[count] = s.table.bucket(s.table.home(keys[count]))
			ends[count] = len(lines) - len(rest)
		}
		for _, home := range homes[:count] {
			s.read += home.count // so that meet finds it in the cache
		}
		start := 0
		for i, k := range keys[:count] {
			verdict := s.meet(k)
			if met[verdict]++; verdict == Fresh {
				kept = append(kept, lines[start:ends[i]]...)
			}
			start = ends[i]
		}
		lines = rest
	}
	return kept, met
}

func (s *Set) key(name []byte) key {
	return key{high: maphash.Bytes(s.high, name), low: uint32(maphash.Bytes(s.low, name))}
}

func (s *Set) meet(k key) Verdict {
	b, slot, found := s.table.insert(entry{key: k})
	switch {
	case !found:
		s.fresh++
		return Fresh
	case b.excluded>>slot&1 == 1:
		return Excluded
	default:
		return Repeated
	}
}
