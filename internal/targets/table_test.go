package targets

import "testing"

// A home at the end of the table goes on at its start, also while it grows.
func TestTableWrapsAround(t *testing.T) {
	const last = ^uint64(0)
	for _, count := range []uint32{slots + 1, firstLen * slots / 2, 20 * firstLen * slots} {
		var table table
		for low := range count {
			if _, _, found := table.insert(entry{key{last, low}, uint8(low % 2)}); found {
				t.Fatalf("key %d of %d is there already", low, count)
			}
		}
		for low := range count {
			b, slot, found := table.find(key{last, low})
			if !found || b.excluded>>slot&1 != uint8(low%2) {
				t.Errorf("key %d of %d: found %t, or with the wrong flag", low, count, found)
			}
		}
		if _, _, found := table.find(key{last, count}); found || table.taken != int(count) {
			t.Errorf("found a key never inserted, or %d taken of %d", table.taken, count)
		}
	}
}

// Keys that differ in one half only are different keys.
func TestTableComparesBothHalves(t *testing.T) {
	var table table
	keys := []key{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {1 << 63, 0}, {1<<63 | 1, 0}, {0, 1 << 31}}
	for again := range 2 {
		for _, k := range keys {
			if _, _, found := table.insert(entry{key: k}); found != (again == 1) {
				t.Errorf("key %v: found %t at meeting %d", k, found, again+1)
			}
		}
	}
}

// What a table takes for each key, at worst: when it has just grown.
func TestTableMemory(t *testing.T) {
	var table table
	for table.room < 4_000_000 {
		keys := table.room // so many made it grow
		before := table.size
		table.grow()
		limit := 61 // four times as large
		if before >= fourfold {
			limit = 19
		}
		if bytes := 64 * table.size; keys > 0 && bytes > limit*keys {
			t.Errorf("%d keys take %d bytes, over %d each", keys, bytes, limit)
		}
		pages := 0
		for _, page := range table.pages {
			pages += len(page)
		}
		if pages != table.size {
			t.Errorf("%d buckets in pages, want %d", pages, table.size)
		}
	}
}
