package chatsim

import (
	"encoding/binary"
	"iter"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// Key is a target as the journal knows it: its name exactly as received.
type Key struct {
	TargetType TargetType `json:"target_type"`
	Target     string     `json:"target"`
}

// shardCount keeps callers apart and each shard's growth small.
const shardCount = 64

// journal counts how often each target of one type was accepted.
//
// Ten million names must fit beside everything else, so there is no string and
// no pointer per name: entries lie one after the other in a shard's arena (name
// length as uvarint, count as uint32, name), and the index holds only hash and
// offset, which the garbage collector never looks into.
type journal struct {
	shards [shardCount]shard
}

type shard struct {
	mu    sync.Mutex
	index map[uint64]uint32 // hash of the name -> offset of its entry
	arena []byte
}

// add counts one more acceptance of name.
func (j *journal) add(name string) {
	hash := xxhash.Sum64String(name)
	s := &j.shards[hash%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	slot, entry := s.find(hash, name)
	if entry != nil {
		binary.LittleEndian.PutUint32(entry, binary.LittleEndian.Uint32(entry)+1)
		return
	}
	if s.index == nil {
		s.index = make(map[uint64]uint32)
	}
	s.index[slot] = uint32(len(s.arena))
	s.arena = binary.AppendUvarint(s.arena, uint64(len(name)))
	s.arena = binary.LittleEndian.AppendUint32(s.arena, 1)
	s.arena = append(s.arena, name...)
}

// addAll adds the targets of an accepted call but for those that fate refuses,
// and tells how many these are. A nil journal only counts.
func (j *journal) addAll(req *request, fates map[string]fate) (delivered int) {
	for _, name := range req.targets {
		if fates[name] == fateRefused {
			continue
		}
		delivered++
		if j != nil {
			j.add(name)
		}
	}
	return delivered
}

// count is how often name was accepted.
func (j *journal) count(name string) int {
	hash := xxhash.Sum64String(name)
	s := &j.shards[hash%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, entry := s.find(hash, name); entry != nil {
		return int(binary.LittleEndian.Uint32(entry))
	}
	return 0
}

// all lists every name with its count. Each shard is copied before it is
// listed, so the caller may take its time while calls go on.
func (j *journal) all() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for i := range j.shards {
			s := &j.shards[i]
			s.mu.Lock()
			arena := slices.Clone(s.arena)
			s.mu.Unlock()
			for len(arena) > 0 {
				name, count, rest := readEntry(arena)
				if !yield(string(name), int(binary.LittleEndian.Uint32(count))) {
					return
				}
				arena = rest
			}
		}
	}
}

// find returns the index key where name is or belongs, and the count bytes of
// its entry, or nil if there is none. Names whose hashes collide take the next
// keys, so counts never mix.
func (s *shard) find(hash uint64, name string) (slot uint64, count []byte) {
	for ; ; hash++ {
		offset, taken := s.index[hash]
		if !taken {
			return hash, nil
		}
		if found, count, _ := readEntry(s.arena[offset:]); string(found) == name {
			return hash, count
		}
	}
}

// readEntry reads the entry at the start of arena.
func readEntry(arena []byte) (name, count, rest []byte) {
	length, n := binary.Uvarint(arena)
	count, rest = arena[n:n+4], arena[n+4:]
	return rest[:length], count, rest[length:]
}
