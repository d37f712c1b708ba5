//go:build linux

package step

import (
	"slices"
	"time"

	"github.com/oakum-build/oakum/storage/records"
)

// young leaves out records that are too old for a stage. What changes nothing has no age.
func (o Options) young(recs []records.Record) []records.Record {
	if o.TTL <= 0 {
		return recs
	}
	return slices.DeleteFunc(recs, func(r records.Record) bool { return r.DiffID != "" && time.Since(r.Created) > o.TTL })
}
