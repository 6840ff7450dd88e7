package targets

import (
	"hash/maphash"
	"math/bits"
)

const (
	shardCount  = 64  // a power of two; one shard at a time is rebuilt to grow
	pageEntries = 256 // of a page: 4 KiB

	// A shard grows by an eighth once it is 17/20 full. So an entry of 16 bytes
	// takes 18.8 to 21.2 bytes, and looking for it some 15 steps in a row.
	fullParts, ofParts = 17, 20
	growth             = 8
)

// entry is the 128-bit hash of a name; all zero is an empty place.
type entry struct{ low, high uint64 }

type page [pageEntries]entry

// Set tells repeated names apart. It keeps of a name only a hash of 128 bits
// under two random seeds: that any two of ten million different names are taken
// for one has a probability below 2e-25, far less than that of a memory fault.
//
// Ten million names take about 200 MB and no allocation each. The hashes stand
// in shards with open addressing, and the shards in small pages: to grow, a
// shard takes more pages and is rebuilt within them, so nothing is left behind
// for the garbage collector, which would otherwise let the heap double.
//
// A Set is not for concurrent use; make one with NewSet.
type Set struct {
	lowSeed, highSeed maphash.Seed
	shards            [shardCount]shard
	scratch           []entry // of a shard that is being rebuilt
	count             int
}

// shard is an open-addressing table with linear probing.
type shard struct {
	pages []*page
	count int
}

// NewSet makes an empty set.
func NewSet() *Set {
	return &Set{lowSeed: maphash.MakeSeed(), highSeed: maphash.MakeSeed()}
}

// Len is the number of different names added.
func (s *Set) Len() int { return s.count }

// Add puts name into the set and tells whether it is new there. Names are
// compared byte by byte: normalize them first.
func (s *Set) Add(name []byte) (fresh bool) {
	e, sh := s.place(name)
	if sh.count*ofParts >= sh.size()*fullParts {
		sh.grow(&s.scratch)
	}
	at, found := sh.find(e)
	if found {
		return false
	}
	*at = e
	sh.count++
	s.count++
	return true
}

// Has tells whether name was added.
func (s *Set) Has(name []byte) bool {
	e, sh := s.place(name)
	if sh.count == 0 {
		return false
	}
	_, found := sh.find(e)
	return found
}

func (s *Set) place(name []byte) (entry, *shard) {
	e := entry{low: maphash.Bytes(s.lowSeed, name), high: maphash.Bytes(s.highSeed, name)}
	if e == (entry{}) {
		e.low = 1 // zero means empty
	}
	return e, &s.shards[e.low%shardCount]
}

func (sh *shard) size() int { return len(sh.pages) * pageEntries }

// find gives the place of e, or the empty place where it belongs. The shard has
// an empty place.
func (sh *shard) find(e entry) (at *entry, found bool) {
	size := sh.size()
	// The high half, scaled to the size: unlike a remainder this needs no power
	// of two, and it keeps the order, so that a rebuild walks through memory.
	home, _ := bits.Mul64(e.high, uint64(size))
	for p, i := int(home)/pageEntries, int(home)%pageEntries; ; p, i = (p+1)%len(sh.pages), 0 {
		for ; i < pageEntries; i++ {
			at = &sh.pages[p][i]
			if *at == e {
				return at, true
			}
			if *at == (entry{}) {
				return at, false
			}
		}
	}
}

// grow adds pages and puts every entry where it now belongs.
func (sh *shard) grow(scratch *[]entry) {
	kept := (*scratch)[:0]
	for _, p := range sh.pages {
		for _, e := range p {
			if e != (entry{}) {
				kept = append(kept, e)
			}
		}
		*p = page{}
	}
	for range max(1, len(sh.pages)/growth) {
		sh.pages = append(sh.pages, new(page))
	}
	for _, e := range kept {
		at, _ := sh.find(e)
		*at = e
	}
	*scratch = kept
}
