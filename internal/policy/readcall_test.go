// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

func TestCallIsReadAsRulesReadIt(t *testing.T) {
	const signature = "transfer(address to, uint256 amount)"
	to := common.HexToAddress("0x52908400098527886E0F7030069857D2E4169EE7")
	data := append(common.FromHex("0xa9059cbb"), common.LeftPadBytes(to[:], 32)...)
	data = append(data, common.LeftPadBytes([]byte{7}, 32)...)
	args, ok := ReadCall(signature, data)
	if !ok || len(args) != 2 || *args[0].Address != to || args[0].Name != "to" || args[1].Number.Int64() != 7 || args[1].Bits != 256 || args[1].Bool {
		t.Fatalf("%v %+v", ok, args)
	}
	dirty := bytes.Clone(data)
	dirty[4] = 1 // the upper bytes of an address are zero
	for name, wrong := range map[string][]byte{
		"another method": append([]byte{1, 2, 3, 4}, data[4:]...), "too short": data[:67], "too long": append(bytes.Clone(data), 0), "no selector": data[:3], "nothing": nil, "an address of more bytes": dirty,
	} {
		if args, ok := ReadCall(signature, wrong); ok {
			t.Errorf("%s: %+v", name, args)
		}
	}
	if _, ok := ReadCall("no signature", data); ok {
		t.Error("read by no signature")
	}
}
