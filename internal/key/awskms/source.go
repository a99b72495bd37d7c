// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// The largest pages that AWS gives.
const (
	listKeysLimit     = 1000
	listAliasesLimit  = 100
	getResourcesLimit = 100
	// nameTag is what consoles show as the name of a resource.
	nameTag = "Name"
)

// page fetches one page of KMS's by the way that discovery goes, of at most limit
// keys (0: the largest there is).
func (b *Backend) page(ctx context.Context, op, marker string, limit int32) (entries []entry, next string, err error) {
	switch {
	case b.cfg.Discovery.TagKey != "":
		return b.tagged(ctx, op, marker, limit)
	case b.cfg.Discovery.AliasPrefix != "":
		return b.aliased(ctx, op, marker, limit)
	}
	return b.all(ctx, op, marker, limit)
}

// all is a page of ListKeys: ARNs and nothing else.
func (b *Backend) all(ctx context.Context, op, marker string, limit int32) (entries []entry, next string, err error) {
	out, err := read(ctx, b, op, "", func(ctx context.Context) (*kms.ListKeysOutput, error) {
		return b.kms.ListKeys(ctx, &kms.ListKeysInput{Marker: optional(marker), Limit: largest(limit, listKeysLimit)})
	})
	if err != nil {
		return nil, "", err
	}
	for _, k := range out.Keys {
		if ref := key.Ref(aws.ToString(k.KeyArn)); arn.MatchString(string(ref)) {
			entries = append(entries, entry{ref: ref})
		}
	}
	next, err = following(op, out.Truncated, out.NextMarker, requestID(out.ResultMetadata))
	return entries, next, err
}

// aliased is a page of ListAliases without the aliases that do not begin with the
// prefix, those of AWS itself, and those that point to no key.
func (b *Backend) aliased(ctx context.Context, op, marker string, limit int32) (entries []entry, next string, err error) {
	out, err := read(ctx, b, op, "", func(ctx context.Context) (*kms.ListAliasesOutput, error) {
		return b.kms.ListAliases(ctx, &kms.ListAliasesInput{Marker: optional(marker), Limit: largest(limit, listAliasesLimit)})
	})
	if err != nil {
		return nil, "", err
	}
	for _, a := range out.Aliases {
		name, ok := strings.CutPrefix(aws.ToString(a.AliasName), aliasPrefix)
		target := aws.ToString(a.TargetKeyId)
		if !ok || target == "" || strings.HasPrefix(name, "aws/") || !strings.HasPrefix(name, b.cfg.Discovery.AliasPrefix) {
			continue
		}
		// An alias always points at a key of its own account and region.
		account, _, _ := strings.Cut(aws.ToString(a.AliasArn), ":"+aliasPrefix)
		if ref := key.Ref(account + ":key/" + target); arn.MatchString(string(ref)) {
			entries = append(entries, entry{ref: ref, name: name})
		}
	}
	next, err = following(op, out.Truncated, out.NextMarker, requestID(out.ResultMetadata))
	return entries, next, err
}

// tagged is a page of GetResources, which has the tags with it. It follows a
// change of tags after some seconds.
func (b *Backend) tagged(ctx context.Context, op, marker string, limit int32) (entries []entry, next string, err error) {
	filter := types.TagFilter{Key: aws.String(b.cfg.Discovery.TagKey)}
	if b.cfg.Discovery.TagValue != "" {
		filter.Values = []string{b.cfg.Discovery.TagValue}
	}
	if err := b.pages.Wait(ctx); err != nil {
		return nil, "", fmt.Errorf("awskms: %s: wait for the quota of the tagging API: %w", op, err)
	}
	out, err := read(ctx, b, op, "", func(ctx context.Context) (*resourcegroupstaggingapi.GetResourcesOutput, error) {
		return b.tagging.GetResources(ctx, &resourcegroupstaggingapi.GetResourcesInput{
			PaginationToken: optional(marker), ResourcesPerPage: largest(limit, getResourcesLimit),
			ResourceTypeFilters: []string{"kms:key"}, TagFilters: []types.TagFilter{filter},
		})
	})
	if err != nil {
		return nil, "", err
	}
	for _, r := range out.ResourceTagMappingList {
		ref := key.Ref(aws.ToString(r.ResourceARN))
		if !arn.MatchString(string(ref)) {
			continue
		}
		tags := make(map[string]string, len(r.Tags))
		for _, t := range r.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		entries = append(entries, entry{ref: ref, name: tags[nameTag], tags: tags})
	}
	return entries, aws.ToString(out.PaginationToken), nil
}

// readNames reads all aliases, to name the keys of a listing of everything by.
// Without the right to do so keys are named by their id.
func (b *Backend) readNames(ctx context.Context, l *listing) error {
	names := map[string]string{}
	for marker := ""; ; {
		entries, next, err := b.aliased(ctx, "list aliases", marker, 0)
		if code(err) == "AccessDeniedException" {
			b.log.Info("keys are named by their id, since kms:ListAliases is not allowed")
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			id := keyID(e.ref)
			if old, ok := names[id]; !ok || e.name < old {
				names[id] = e.name
			}
		}
		if next == "" || next == marker {
			l.names = names
			return nil
		}
		marker = next
	}
}

// following is the marker of the next page; empty after the last.
func following(op string, truncated bool, marker *string, id string) (string, error) {
	if truncated && aws.ToString(marker) == "" {
		return "", bad(op, "", id, "a page that is not the last has no marker of the next")
	}
	if !truncated {
		return "", nil
	}
	return *marker, nil
}

func largest(limit, most int32) *int32 {
	if limit == 0 || limit > most {
		limit = most
	}
	return &limit
}
