/* Safe-failover model. 3 converged hosts (host i = brick i), one VM.
 * Everything is one nondeterministic loop; etcd is an atomic store; all knowledge of it is stale.
 * Knobs: -DNODROP -DQUORUMONLY -DACKNOW -DCLOCKSTOP -DWATCHDOG -DNOPAUSE -DS3 -DNOREJOIN -DLOCALKILLONLY */
#define N 3
#define P 2
#ifndef MAXE
#define MAXE 3
#endif
#ifndef MAXPAUSE
#define MAXPAUSE 2
#endif
#ifndef MAXPART
#define MAXPART 2
#endif
/* etcd */
byte nst[N];              /* 0 online 1 fencing 2 fenced */
byte ack[N];              /* ack[h]: bitmask of fencers */
byte owner = 0, epoch = 1;
/* fencers */
byte seen[N];             /* seen[b]: hosts b knows to be under fencing -> no more promises */
byte drop[N];             /* drop[b]: hosts whose traffic b drops (and whose sockets b destroyed) */
byte pt[9];               /* promise timer at fencer b for host h: pt[b*3+h] */
/* hosts */
byte nt[9];               /* promise timer at host h from fencer b: nt[h*3+b] */
bit frozen[N], paused[N];
byte vm[N];              /* epoch of the QEMU on h, 0 = none */
byte pend[N];             /* epoch the agent has decided to start (stale check-then-act) */
byte fl[9];               /* in-flight write h->b: epoch, 0 = none: fl[h*3+b] */
bit cutE[N], cutS[N];     /* host cut from etcd; host cut from the storage network */
bit excl[N];              /* brick excluded: will only ever be a heal sink */
byte started = 1;         /* highest epoch ever started */
byte npause = 0, npart = 0;
#define B(x) (1<<(x))
#define HOLD(h) (nt[(h)*3+((h)+1)%3]>0 || nt[(h)*3+((h)+2)%3]>0)
#define LINK(a,b) ((a)==(b) || (!cutS[a] && !cutS[b]))
#define LATE(h) (vm[h]!=0 && !frozen[h] && !paused[h] && !HOLD(h))
#define ACTIVE(h) (vm[h]!=0 && !frozen[h] && !paused[h])
inline dec(x) { if :: x>0 -> x-- :: else fi }
byte i, h, b, t, c;
init {
 d_step { vm[0]=1; nt[0*3+1]=P-1; nt[0*3+2]=P-1; pt[1*3+0]=P; pt[2*3+0]=P; }
 do
 /* time; a running watcher freezes before the next tick (urgency) */
 :: d_step { !LATE(0) && !LATE(1) && !LATE(2) ->
      i=0; do :: i<9 -> dec(pt[i]);
#ifdef CLOCKSTOP
        if :: paused[i/3] -> skip :: else -> dec(nt[i]) fi;
#else
        dec(nt[i]);
#endif
        i++ :: else -> break od; i=0 }
 /* pick a host */
 :: atomic { if :: h=0 :: h=1 :: h=2 fi; if :: b=(h+1)%3 :: b=(h+2)%3 fi;
    if
    /* nemesis */
#ifndef NOPAUSE
    :: d_step { !paused[h] && npause<MAXPAUSE -> paused[h]=1; npause++ }
    :: d_step { paused[h] ->
#ifdef WATCHDOG
        if :: vm[h]!=0 && !HOLD(h) -> vm[h]=0; pend[h]=0; frozen[h]=0; i=0; do :: i<3 -> fl[h*3+i]=0; i++ :: else -> break od; i=0 /* reset */
           :: else fi;
#endif
        paused[h]=0 }
#endif
    :: d_step { !cutE[h] && npart<MAXPART -> cutE[h]=1; npart++ }
    :: d_step { cutE[h] -> cutE[h]=0 }
    :: d_step { !cutS[h] && npart<MAXPART -> cutS[h]=1; npart++ }
    :: d_step { cutS[h] -> cutS[h]=0 }
    /* promise: host h asks fencer b, on the storage network, no etcd involved */
    :: d_step { !paused[h] && !paused[b] && LINK(h,b) && !(seen[b]&B(h)) && (vm[h]!=0 || pend[h]!=0) ->
         pt[b*3+h]=P; nt[h*3+b]=P-1 }
    /* fencer b learns that h is under fencing, drops it at once, acks when its own promise is over */
    :: d_step { !paused[b] && !cutE[b] && nst[h]!=0 && !(seen[b]&B(h)) -> seen[b]=seen[b]|B(h);
#ifndef NODROP
         drop[b]=drop[b]|B(h);
#endif
       }
    :: d_step { !paused[b] && !cutE[b] && nst[h]==1 && (seen[b]&B(h)) && !(ack[h]&B(b)) &&
#ifdef ACKNOW
         true ->
#else
         pt[b*3+h]==0 ->
#endif
         ack[h]=ack[h]|B(b) }
    /* coordinator: anyone; suspicion may be false and may come at any moment */
    :: d_step { nst[h]==0 && !paused[b] && !cutE[b] && nst[b]==0 -> nst[h]=1 }
#ifdef QUORUMONLY
    :: d_step { nst[h]==1 && ack[h]!=0 -> nst[h]=2; excl[h]=1 }
#else
    :: d_step { nst[h]==1 && nst[(h+1)%3]==0 && nst[(h+2)%3]==0 && (ack[h]&B((h+1)%3)) && (ack[h]&B((h+2)%3)) ->
         nst[h]=2; excl[h]=1 }
#endif
    :: d_step { nst[h]==2 && owner==h && nst[b]==0 && epoch<MAXE -> owner=b; epoch++ }
    /* agent: decide to start (reads etcd), start later (stale) */
    :: d_step { !paused[h] && !cutE[h] && owner==h && nst[h]==0 && vm[h]==0 && pend[h]==0 && epoch>started -> pend[h]=epoch }
    :: d_step { !paused[h] && pend[h]!=0 && vm[h]==0 && HOLD(h) -> vm[h]=pend[h]; pend[h]=0;
         if :: vm[h]>started -> started=vm[h] :: else fi }
    /* watcher: freeze on lapse, thaw on a regained promise quorum alone */
    :: d_step { !paused[h] && vm[h]!=0 && !frozen[h] && !HOLD(h) -> frozen[h]=1 }
    :: d_step { !paused[h] && frozen[h] && HOLD(h) -> frozen[h]=0 }
    /* agent: kill what is no longer mine */
    :: d_step { !paused[h] && !cutE[h] && vm[h]!=0 && (nst[h]!=0 || owner!=h || epoch!=vm[h]) -> vm[h]=0; frozen[h]=0 }
#ifndef NOREJOIN
    /* rejoin: nothing running, nothing of mine in flight; peers un-fence one by one, lazily */
    :: d_step { !paused[h] && !cutE[h] && nst[h]==2 && owner!=h && vm[h]==0 &&
                fl[h*3]==0 && fl[h*3+1]==0 && fl[h*3+2]==0 -> nst[h]=0; ack[h]=0; excl[h]=0; pend[h]=0; frozen[h]=0 }
    :: d_step { !paused[b] && !cutE[b] && nst[h]==0 && (seen[b]&B(h)) -> seen[b]=seen[b]&~B(h); drop[b]=drop[b]&~B(h) }
#endif
    /* guest writes: to the local brick and to every brick; delivery is a separate, later step */
    :: d_step { ACTIVE(h) -> fl[h*3+h]=vm[h]; fl[h*3+(h+1)%3]=vm[h]; fl[h*3+(h+2)%3]=vm[h] }
    :: else -> skip
    fi; h=0; b=0 }
 /* delivery of in-flight writes, also of dead or paused hosts (TCP retransmission) */
 :: atomic { if :: h=0 :: h=1 :: h=2 fi; if :: c=0 :: c=1 :: c=2 fi;
    if :: d_step { fl[h*3+c]!=0 && (drop[c]&B(h)) -> fl[h*3+c]=0 }
       :: d_step { fl[h*3+c]!=0 && !(drop[c]&B(h)) && LINK(h,c) ->
            assert(!(fl[h*3+c]<started && !excl[c]));   /* S1+S2: no old-epoch write reaches a live brick */
            fl[h*3+c]=0 }
       :: else -> skip
    fi; h=0; c=0 }
#ifdef S3
 :: d_step { ACTIVE(0)+ACTIVE(1)+ACTIVE(2)>1 -> assert(false) }   /* S3: never two guests executing */
#endif
#ifdef REACH
 :: d_step { started>=REACH -> assert(false) }
#endif
 od
}
