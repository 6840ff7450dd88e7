package targets

import "math/bits"

const (
	slots    = 5    // of a bucket: as many as a cache line holds
	firstLen = 16   // buckets of a new table: 1 KiB
	pageLen  = 1024 // buckets of a page: 64 KiB

	// A table grows once it is 17/20 full. It takes four times as many buckets until
	// they are so many (16 MiB, 1.1 million keys), and a quarter more from there on:
	// so in a large one a key of 12 bytes takes 15 to 19, and looking for it two to
	// five buckets, which are neighbours.
	fullParts, ofParts = 17, 20
	fourfold           = 1 << 18
	growth             = 4
)

// table is a set of keys with a flag each. The keys stand in buckets with open
// addressing, in the order of their high bits, and the buckets in pages: to
// grow, the table takes more pages and moves every key up within them. So it
// leaves nothing behind for the garbage collector, which would otherwise let the
// heap double.
type table struct {
	pages       [][]bucket // of pageLen, or a single shorter one
	size        int        // buckets
	taken, room int        // slots taken, and so many make it grow
	displaced   []entry    // see grow; kept for the next time
}

// bucket is one cache line. Its slots are taken from the first on.
type bucket struct {
	high     [slots]uint64
	low      [slots]uint32
	count    uint8 // of slots taken
	excluded uint8 // bit i: the flag of slot i
}

type key struct {
	high uint64
	low  uint32
}

type entry struct {
	key
	excluded uint8 // 0 or 1
}

func (t *table) bucket(i int) *bucket {
	return &t.pages[uint(i)/pageLen][uint(i)%pageLen]
}

// home is the bucket where k should be: its high bits, scaled to the size.
// Unlike a remainder that needs no power of two, and it keeps the order.
func (t *table) home(k key) int {
	home, _ := bits.Mul64(k.high, uint64(t.size))
	return int(home)
}

// find gives the slot of k, or the free one that it would take. The table must
// have buckets.
func (t *table) find(k key) (b *bucket, slot int, found bool) {
	for i := t.home(k); ; i++ {
		if i == t.size {
			i = 0
		}
		b = t.bucket(i)
		if b.mayHave(k) {
			for slot := range int(b.count) {
				if b.high[slot] == k.high && b.low[slot] == k.low {
					return b, slot, true
				}
			}
		}
		if b.count < slots {
			return b, int(b.count), false
		}
	}
}

// insert gives the slot of e, and takes one for it if it was not found.
func (t *table) insert(e entry) (b *bucket, slot int, found bool) {
	if t.taken >= t.room {
		t.grow()
	}
	b, slot, found = t.find(e.key)
	if !found {
		b.put(e)
		t.taken++
	}
	return b, slot, found
}

// mayHave tells whether some slot has the high half of k, without a branch for
// each that would be mispredicted: (x-1)&^x has the top bit only if x is 0.
func (b *bucket) mayHave(k key) bool {
	var zero uint64
	for i := range b.high {
		x := b.high[i] ^ k.high
		zero |= (x - 1) &^ x
	}
	return zero>>63 == 1
}

// put takes the first free slot, of which there is one, for e.
func (b *bucket) put(e entry) {
	b.high[b.count], b.low[b.count] = e.high, e.low
	b.excluded |= e.excluded << b.count
	b.count++
}

// grow adds pages and moves every entry to where it now belongs. Homes only move
// up. So it empties the buckets from the last to the first, and puts each entry
// among those already emptied. The few whose home is further down, as they had
// been displaced by others, and those that find no room before the end, it
// inserts afterwards.
func (t *table) grow() {
	old := t.size
	t.extend()
	t.room = t.size * slots * fullParts / ofParts
	t.displaced = t.displaced[:0]
	for i := old - 1; i >= 0; i-- {
		from := t.bucket(i)
		b := *from
		*from = bucket{}
		for slot := range int(b.count) {
			t.moveUp(entry{key{b.high[slot], b.low[slot]}, b.excluded >> slot & 1}, i)
		}
	}
	t.taken -= len(t.displaced)
	for _, e := range t.displaced {
		t.insert(e)
	}
}

// extend adds pages, or makes the single one longer.
func (t *table) extend() {
	switch {
	case t.size < pageLen:
		page := make([]bucket, max(4*t.size, firstLen))
		if t.size > 0 {
			copy(page, t.pages[0])
		}
		t.pages = [][]bucket{page}
		t.size = len(page)
		return
	case t.size < fourfold:
		t.size *= 4
	default:
		t.size += t.size / growth / pageLen * pageLen
	}
	for len(t.pages) < t.size/pageLen {
		t.pages = append(t.pages, make([]bucket, pageLen))
	}
}

// moveUp puts e into the first bucket with room from its home on, unless that is
// below lowest or there is none before the end.
func (t *table) moveUp(e entry, lowest int) {
	for i := t.home(e.key); i >= lowest && i < t.size; i++ {
		if b := t.bucket(i); b.count < slots {
			b.put(e)
			return
		}
	}
	t.displaced = append(t.displaced, e)
}
