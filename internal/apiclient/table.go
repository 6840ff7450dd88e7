package apiclient

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// table finds the targets of a call by name, without regard to ASCII case:
// answers come unordered and may be folded (CHAT-API: "Sending"). It is open
// addressing with room for twice the targets, so that a look-up is one hash and
// mostly one comparison; the memory is used again by the next call.
type table struct {
	lines []byte
	spans []span // per target
	slots []slot // a power of two of them
	twins []twin
}

// span is where in lines a target stands.
type span struct{ start, end int32 }

// slot is a place of the table; target counts from 1, 0 = free.
type slot struct{ hash, target uint32 }

// twin is a target that was given before, perhaps in another case.
type twin struct{ again, first int }

// fill starts the table anew with the targets in lines, one a line.
func (t *table) fill(lines []byte, count int) {
	size := 8
	for size < 2*count {
		size *= 2
	}
	if cap(t.slots) < size {
		t.slots = make([]slot, size)
	}
	t.slots = t.slots[:size]
	clear(t.slots)
	t.lines, t.spans, t.twins = lines, t.spans[:0], t.twins[:0]
	for start := 0; len(t.spans) < count; {
		end := len(lines)
		if n := bytes.IndexByte(lines[start:], '\n'); n >= 0 {
			end = start + n
		}
		t.add(span{int32(start), int32(end)})
		start = end + 1
	}
}

func (t *table) add(at span) {
	index := len(t.spans)
	t.spans = append(t.spans, at)
	name := t.lines[at.start:at.end]
	hash := uint32(foldHash(name))
	place, first := t.look(name, hash)
	if first >= 0 {
		t.twins = append(t.twins, twin{index, first})
		return
	}
	t.slots[place] = slot{hash, uint32(index + 1)}
}

// find returns the index of the target called name, or -1.
func (t *table) find(name []byte) int {
	_, index := t.look(name, uint32(foldHash(name)))
	return index
}

// look returns the target called name, or -1 and the place where it belongs.
func (t *table) look(name []byte, hash uint32) (place uint32, index int) {
	mask := uint32(len(t.slots) - 1)
	for place = hash & mask; ; place = (place + 1) & mask {
		s := t.slots[place]
		if s.target == 0 {
			return place, -1
		}
		if s.hash == hash {
			at := t.spans[s.target-1]
			if equalFold(t.lines[at.start:at.end], name) {
				return place, int(s.target - 1)
			}
		}
	}
}

// foldHash is the same for names that differ in ASCII case only, and else as good
// as random, also for names that are much alike: sums of it tell lists apart.
func foldHash(name []byte) uint64 {
	h := spread(seed + uint64(len(name)))
	var last uint64
	if at := len(name) - 8; at >= 0 {
		last = binary.LittleEndian.Uint64(name[at:]) // some of it a second time, which does no harm
	} else {
		for _, c := range name {
			last = last<<8 | uint64(c)
		}
	}
	for ; len(name) > 8; name = name[8:] {
		h = spread(h ^ lowerAll(binary.LittleEndian.Uint64(name)))
	}
	return mix(mix(h^lowerAll(last)) ^ seed)
}

var seed = rand.Uint64()

// spread is a bijection in which bits have a part in many others.
func spread(x uint64) uint64 {
	x *= 0x9E3779B97F4A7C15
	return x ^ x>>32
}

// mix is a bijection in which every bit has a part in every bit: the finalizer
// of MurmurHash3.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xFF51AFD7ED558CCD
	x ^= x >> 33
	x *= 0xC4CEB9FE1A85EC53
	return x ^ x>>33
}

// lowerAll lowers the ASCII letters among eight bytes at once.
func lowerAll(x uint64) uint64 {
	const low, top = 0x7F7F7F7F7F7F7F7F, 0x8080808080808080
	const fromA, aboveZ = (0x80 - 'A') * (top >> 7), (0x7F - 'Z') * (top >> 7)
	upper := ((x & low) + fromA) &^ ((x & low) + aboveZ) &^ x & top // the top bit of each letter's byte
	return x | upper>>2
}

// equalFold reports whether a and b differ in ASCII case at most.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	if bytes.Equal(a, b) {
		return true
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
