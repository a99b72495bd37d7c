// SPDX-License-Identifier: Apache-2.0
// Makes types.json: one transaction of every type, signed by viem and checked
// against ethers. Run it where both are installed:
//   npm install viem@2.57.20 ethers@6.17.0 && node make-types.mjs > types.json
import * as viem from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import * as ethers from 'ethers'

const key='0x4646464646464646464646464646464646464646464646464646464646464646';
const acct=privateKeyToAccount(key);
const to='0x3535353535353535353535353535353535353535';
const al=[{address:'0x00000000000000000000000000000000000000aa',storageKeys:['0x'+'00'.repeat(31)+'01','0x'+'ff'.repeat(32)]},{address:'0x00000000000000000000000000000000000000bb',storageKeys:[]}];
const auth=await acct.signAuthorization({contractAddress:'0x00000000000000000000000000000000000000cc',chainId:1,nonce:7});
const authAny=await acct.signAuthorization({contractAddress:'0x00000000000000000000000000000000000000cc',chainId:0,nonce:8});
const authJ=a=>({chainId:viem.numberToHex(a.chainId),address:a.address,nonce:viem.numberToHex(a.nonce),yParity:viem.numberToHex(a.yParity),r:a.r,s:a.s});
const h='0x01'+'ab'.repeat(31);
const hx=viem.numberToHex;
const base={nonce:9,gas:200000n,to,value:1000000000000000000n,data:'0x600102'};
const txs=[
 ['legacy EIP-155 example',{type:'legacy',chainId:1,nonce:9,gasPrice:20000000000n,gas:21000n,to,value:1000000000000000000n},{nonce:'0x9',gasPrice:hx(20000000000n),gas:hx(21000n),to,value:hx(1000000000000000000n)}],
 ['legacy creation, chain 1337',{type:'legacy',chainId:1337,nonce:0,gasPrice:0n,gas:200000n,data:'0x60016002'},{nonce:'0x0',gasPrice:'0x0',gas:hx(200000n),data:'0x60016002'}],
 ['access list',{...base,type:'eip2930',chainId:1,gasPrice:7n,accessList:al},{gasPrice:'0x7',accessList:al}],
 ['dynamic fee',{...base,type:'eip1559',chainId:1,maxFeePerGas:30n,maxPriorityFeePerGas:2n,accessList:al},{maxFeePerGas:hx(30n),maxPriorityFeePerGas:'0x2',accessList:al}],
 ['dynamic fee, no access list, zero fees',{...base,type:'eip1559',chainId:11155111,maxFeePerGas:0n,maxPriorityFeePerGas:0n},{maxFeePerGas:'0x0',maxPriorityFeePerGas:'0x0'}],
 ['blob hashes',{...base,type:'eip4844',chainId:1,maxFeePerGas:30n,maxPriorityFeePerGas:2n,maxFeePerBlobGas:5n,blobVersionedHashes:[h,h],accessList:al},{maxFeePerGas:hx(30n),maxPriorityFeePerGas:'0x2',maxFeePerBlobGas:'0x5',blobVersionedHashes:[h,h],accessList:al}],
 ['set code',{...base,type:'eip7702',chainId:1,maxFeePerGas:30n,maxPriorityFeePerGas:2n,authorizationList:[auth,authAny],accessList:al},{maxFeePerGas:hx(30n),maxPriorityFeePerGas:'0x2',authorizationList:[authJ(auth),authJ(authAny)],accessList:al}],
];
const out=[];
for(const [name,t,extra] of txs){
 const unsigned=viem.serializeTransaction(t);
 const signed=await acct.signTransaction(t);
 const e=ethers.Transaction.from(signed);
 const digest=viem.keccak256(unsigned);
 if(e.unsignedHash!==digest) throw new Error(name+' '+e.unsignedHash+' '+digest);
 if(e.from!==acct.address) throw new Error(name);
 const b= name.startsWith('legacy')?{}:{nonce:'0x9',gas:hx(200000n),to,value:hx(base.value),data:base.data};
 out.push({name,chainId:hx(t.chainId),args:{from:acct.address,...b,...extra},unsigned,digest,signed,hash:viem.keccak256(signed)});
}
const msgs=['','hello','é\u{1F600}','x'.repeat(200)].map(m=>{const d=viem.hashMessage(m); if(d!==ethers.hashMessage(m)) throw 1; return {message:viem.toHex(m),digest:d}});
console.log(JSON.stringify({key,address:acct.address,authorities:[acct.address,acct.address],transactions:out,messages:msgs},null,1));
