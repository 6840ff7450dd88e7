package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
)

// kind is a way to make user names. All are nameLength bytes long: what
// differs is how well they compress.
type kind string

const (
	kindMixed      kind = "mixed"
	kindSequential kind = "sequential"
	kindRandom     kind = "random"
	kindUUIDLike   kind = "uuidlike"
)

const nameLength = 20

// about says what the names of a kind are like.
func (k kind) about() string {
	switch k {
	case kindSequential:
		return "user- and a number, without gaps"
	case kindRandom:
		return "random letters and digits"
	case kindUUIDLike:
		return "UUIDs, cut off"
	default:
		return "half of them user- and a number that rises with gaps, a quarter UUIDs, a quarter random letters and digits, all mingled"
	}
}

// appendName appends the n-th name of a kind, always the same one. Names of
// different numbers differ: mix loses nothing of a number, and in kindMixed no
// shape can be mistaken for another.
func (k kind) appendName(dst []byte, n uint64) []byte {
	h := mix(n)
	switch k {
	case kindSequential:
		return fmt.Appendf(dst, "user-%015d", n)
	case kindUUIDLike:
		return fmt.Appendf(dst, "%08x-%04x-4%03x-%x", h>>32, h>>16&0xffff, h>>4&0xfff, h&0xf)
	case kindRandom:
		return append(appendBase36(dst, h, 13), appendBase36(nil, mix(h), nameLength-13)...)
	default:
		return appendMixed(dst, n, h)
	}
}

// appendMixed makes one of three shapes by the hash h of n.
func appendMixed(dst []byte, n, h uint64) []byte {
	const gap = 37 // between numbers, in the mean
	switch h & 3 {
	case 0:
		return kindUUIDLike.appendName(dst, n)
	case 1:
		return kindRandom.appendName(dst, n)
	default:
		return kindSequential.appendName(dst, n*gap+h>>2%gap)
	}
}

// mix is the finalizer of SplitMix64: it looks random, and no two numbers give
// the same.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// appendBase36 appends the last width digits of n; 13 are all there can be.
func appendBase36(dst []byte, n uint64, width int) []byte {
	digits := "000000000000" + strconv.FormatUint(n, 36)
	return append(dst, digits[len(digits)-width:]...)
}

type namesCommand struct {
	Targets int    `default:"1000000" help:"How many."`
	Names   kind   `enum:"mixed,sequential,random,uuidlike" default:"mixed" help:"Their kind: ${enum}."`
	File    string `arg:"" help:"File to write, one name a line."`
}

// Run writes the list.
func (c *namesCommand) Run() error { return writeNames(c.File, c.Names, c.Targets) }

func writeNames(path string, k kind, count int) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	var line []byte
	for n := range uint64(max(count, 0)) {
		line = append(k.appendName(line[:0], n), '\n')
		_, _ = w.Write(line) // Flush has its error
	}
	err = w.Flush()
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
