package usage

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter is one condition on items, as BuildKit's filters of cache records: a key, "=", "!=" or "~=" (a
// regular expression fits), and a value.
type Filter struct{ Key, Op, Value string }

// ErrFilter says that a filter is none.
var ErrFilter = errors.New("invalid filter")

// keys are those of filters, and how an item is compared.
var keys = map[string]func(Item) []string{
	"id":          func(i Item) []string { return []string{i.ID} },
	"parent":      func(i Item) []string { return []string{i.Parent} },
	"type":        func(i Item) []string { return append([]string{string(i.Kind)}, buildKit[i.Kind]...) },
	"description": func(i Item) []string { return []string{i.Description} },
	"inuse":       flag(func(i Item) bool { return i.InUse }),
	"shared":      flag(func(i Item) bool { return i.Shared }),
	"private":     flag(func(i Item) bool { return !i.Shared }),
	"mutable":     flag(func(i Item) bool { return i.Kind == CacheMount }),
	"immutable":   flag(func(i Item) bool { return i.Kind != CacheMount }),
	"reclaimable": flag(func(i Item) bool { return i.Reclaimable }),
}

// otherKeys are what BuildKit and docker call the same.
var otherKeys = map[string]string{"parents": "parent", "unused-for": until}

// buildKit is what BuildKit calls the kinds.
var buildKit = map[Kind][]string{Layer: {"regular"}, CacheMount: {"exec.cachemount"}, Records: {"internal", "source.local"}}

// foreignTypes are kinds of BuildKit's of which there are none.
var foreignTypes = []string{"source.git.checkout", "frontend"}

// until is the key of what was last used before a time.
const until = "until"

func flag(is func(Item) bool) func(Item) []string {
	return func(i Item) []string { return []string{strconv.FormatBool(is(i))} }
}

// ParseFilter reads KEY, KEY=VALUE, KEY!=VALUE or KEY~=REGEXP. A KEY alone is true. The value of until is
// how long ago, or a time. It fails with ErrFilter.
func ParseFilter(text string, now time.Time) (Filter, error) {
	f := Filter{Key: text, Op: "=", Value: "true"}
	if at := strings.IndexByte(text, '='); at >= 0 {
		f.Key, f.Value = text[:at], strings.TrimPrefix(text[at+1:], "=")
		for _, sign := range []string{"!", "~"} {
			if key, ok := strings.CutSuffix(f.Key, sign); ok {
				f.Key, f.Op, f.Value = key, sign+"=", text[at+1:]
			}
		}
	}
	if other, ok := otherKeys[f.Key]; ok {
		f.Key = other
	}
	if f.Key == until && f.Op == "=" {
		before, err := ParseTime(f.Value, now)
		if err != nil {
			return f, err
		}
		f.Value = before.Format(time.RFC3339Nano)
	}
	_, err := f.compile()
	return f, err
}

// ParseTime reads a time as docker's filters take it: how long ago it was, seconds since 1970, or a date and time.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 62); err == nil {
		return time.Unix(seconds, 0), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: until=%s: it is a time such as 2026-01-31T12:00:00 or an age such as 24h", ErrFilter, text)
}

// compile gives what says whether the filter takes an item.
func (f Filter) compile() (func(Item) bool, error) {
	if f.Key == until {
		before, err := time.Parse(time.RFC3339Nano, f.Value)
		if err != nil || f.Op != "=" {
			return nil, fmt.Errorf("%w: until%s%s: it is until=TIME", ErrFilter, f.Op, f.Value)
		}
		return func(i Item) bool { return i.LastUsed.Before(before) }, nil
	}
	values, ok := keys[f.Key]
	if !ok {
		return nil, fmt.Errorf("%w: %q is not known; there are description, id, immutable, inuse, mutable, parent, private, reclaimable, shared, type and until", ErrFilter, f.Key)
	}
	if err := f.check(values); err != nil {
		return nil, err
	}
	switch f.Op {
	case "=":
		return func(i Item) bool { return f.among(values(i)) }, nil
	case "!=":
		return func(i Item) bool { return !f.among(values(i)) }, nil
	case "~=":
		fits, err := regexp.Compile(f.Value)
		if err != nil {
			return nil, fmt.Errorf("%w: %s~=%s: %w", ErrFilter, f.Key, f.Value, err)
		}
		return func(i Item) bool { return slices.ContainsFunc(values(i), fits.MatchString) }, nil
	}
	return nil, fmt.Errorf("%w: %s%s%s: there are =, != and ~=", ErrFilter, f.Key, f.Op, f.Value)
}

// check refuses values that no item can have.
func (f Filter) check(values func(Item) []string) error {
	if f.Op == "~=" {
		return nil
	}
	switch first := values(Item{})[0]; {
	case first == "true" || first == "false":
		if f.Value != "true" && f.Value != "false" {
			return fmt.Errorf("%w: %s%s%s: it is true or false", ErrFilter, f.Key, f.Op, f.Value)
		}
	case f.Key == "type":
		known := slices.Clone(foreignTypes)
		for _, k := range []Kind{Layer, CacheMount, Records, Image, Staging, Other} {
			known = append(append(known, string(k)), buildKit[k]...)
		}
		if !slices.Contains(known, f.Value) {
			return fmt.Errorf("%w: type%s%s: there are cachemount (or exec.cachemount), image, layer (or regular), other, records (or internal) and staging", ErrFilter, f.Op, f.Value)
		}
	case f.Value == "":
		return fmt.Errorf("%w: %s%s has no value", ErrFilter, f.Key, f.Op)
	}
	return nil
}

// among says whether the filter's value is one of some; of an id its beginning is enough.
func (f Filter) among(values []string) bool {
	if f.Key == "id" || f.Key == "parent" {
		return strings.HasPrefix(values[0], f.Value)
	}
	return slices.Contains(values, f.Value)
}

// Chosen gives what says whether all filters take an item. It fails with ErrFilter.
func Chosen(filters []Filter) (func(Item) bool, error) {
	var all []func(Item) bool
	for _, f := range filters {
		takes, err := f.compile()
		if err != nil {
			return nil, err
		}
		all = append(all, takes)
	}
	return func(i Item) bool {
		return !slices.ContainsFunc(all, func(takes func(Item) bool) bool { return !takes(i) })
	}, nil
}
