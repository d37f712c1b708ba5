// Package usage has what is on disk of a store (builder.Builder.DiskUsage), and what is to be removed of it (builder.Builder.Prune).
package usage

import (
	"time"

	"github.com/oakum-build/oakum/storage/usage"
)

// Kind is what an Item is.
type Kind = usage.Kind

// The kinds of items.
const (
	Layer      = usage.Layer
	CacheMount = usage.CacheMount
	Records    = usage.Records
	Image      = usage.Image
	Staging    = usage.Staging
	Other      = usage.Other
)

// Item is a part of a store. Each file of the store belongs to exactly one.
type Item = usage.Item

// Report is what a store has on disk.
type Report = usage.Report

// Options say what a prune removes. The zero value empties the layer cache.
type Options = usage.Options

// Filter is one condition on items. ParseFilter makes it.
type Filter = usage.Filter

// ErrFilter says that a filter, or a limit of Options, is none.
var ErrFilter = usage.ErrFilter

// ParseFilter reads KEY, KEY=VALUE, KEY!=VALUE or KEY~=REGEXP, as docker and BuildKit write them. The keys are description, id,
// immutable, inuse, mutable, parent, private, reclaimable, shared, type and until. Ages are counted from now. It fails with
// ErrFilter.
func ParseFilter(text string, now time.Time) (Filter, error) { return usage.ParseFilter(text, now) }

// ParseTime reads a time as the filter until has it: how long ago it was, seconds since 1970, or a date and
// time. It fails with ErrFilter.
func ParseTime(text string, now time.Time) (time.Time, error) { return usage.ParseTime(text, now) }
