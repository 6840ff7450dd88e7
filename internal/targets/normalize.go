package targets

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// The kinds of target, as the Chat API writes them in target_type.
const (
	Users  = "users"
	Groups = "chatgroups"
	Rooms  = "chatrooms"
)

// MaxBytes is the longest name or id of any kind. CHAT-API: "Names".
const MaxBytes = 64

// alphabet maps a byte of a name to the byte that is sent for it; 0 = not allowed.
type alphabet [256]byte

// CHAT-API "Names": user names are folded to lower case. Ids are compared by
// the vendor as they are, so upper case there is a mistake that folding would hide.
var (
	userAlphabet = newAlphabet("abcdefghijklmnopqrstuvwxyz0123456789_-.", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	idAlphabet   = newAlphabet("abcdefghijklmnopqrstuvwxyz0123456789", "")
)

func newAlphabet(asIs, folded string) *alphabet {
	var a alphabet
	for i := range len(asIs) {
		a[asIs[i]] = asIs[i]
	}
	for i := range len(folded) {
		a[folded[i]] = folded[i] | 0x20 // ASCII lower case
	}
	return &a
}

// ValidKind reports a kind that is none of Users, Groups and Rooms.
func ValidKind(kind string) error {
	_, err := alphabetOf(kind)
	return err
}

func alphabetOf(kind string) (*alphabet, error) {
	switch kind {
	case Users:
		return userAlphabet, nil
	case Groups, Rooms:
		return idAlphabet, nil
	}
	return nil, fmt.Errorf("targets: unknown kind %q (known: %s, %s, %s)", kind, Users, Groups, Rooms)
}

// Normalize appends name to dst in the form in which it is sent: user names
// folded to lower case, ids unchanged. Decimal ids stay strings, whatever their
// size. It allocates nothing if dst has room.
//
// The error says what is wrong, to stand behind the name in a sentence: "has a
// space at byte 3" (bytes count from 1), "is 70 bytes long, at most 64"; dst is
// then returned unchanged.
func Normalize(kind string, dst, name []byte) ([]byte, error) {
	letters, err := alphabetOf(kind)
	if err != nil {
		return dst, err
	}
	return letters.normalize(dst, name)
}

func (a *alphabet) normalize(dst, name []byte) ([]byte, error) {
	if len(name) == 0 {
		return dst, errors.New("is empty")
	}
	if len(name) > MaxBytes {
		return dst, fmt.Errorf("is %d bytes long, at most %d", len(name), MaxBytes)
	}
	start := len(dst)
	dst = append(dst, name...)
	sent := dst[start:]
	for i, c := range sent {
		if sent[i] = a[c]; sent[i] == 0 {
			return dst[:start], a.problem(name, i)
		}
	}
	return dst, nil
}

// sentAsIs tells whether name is valid and needs no folding.
func (a *alphabet) sentAsIs(name []byte) bool {
	for _, c := range name {
		if a[c] != c || c == 0 {
			return false
		}
	}
	return len(name) > 0 && len(name) <= MaxBytes
}

// problem says what is wrong with the byte of name at i.
func (a *alphabet) problem(name []byte, i int) error {
	if name[i] == ' ' {
		return fmt.Errorf("has a space at byte %d", i+1)
	}
	r, size := utf8.DecodeRune(name[i:])
	if r == utf8.RuneError && size <= 1 {
		return fmt.Errorf("has the byte 0x%02x, which is no text in UTF-8", name[i])
	}
	known := "user names have a-z, 0-9, _, - and ."
	if a == idAlphabet {
		known = "ids have a-z and 0-9"
	}
	return fmt.Errorf("has the character %q (%s)", string(r), known)
}
