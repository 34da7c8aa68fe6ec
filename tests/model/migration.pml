/* Pre-copy migration A -> B under libvirt's v3 protocol, ownership in etcd.
 * -DNOPAUSED: without VIR_MIGRATE_PAUSED (libvirt starts the CPUs on B itself in Finish3)
 * -DPROMOTE : after A's death the coordinator lets the complete, paused copy on B go on
 * -DNOWAITDST: the coordinator restarts on C without waiting for B to have destroyed its copy
 * -DEARLYT7  : A's agent commits T7 when B's copy is complete, not when its own QEMU has gone
 * -DNOFREEZE : B is taken for fenced although its guard has not frozen it
 * T7 says all that B needs, there is no claim of B's after it (docs/adr/0008). B resumes because it has heard of T7,
 * however long ago: a commit that compared own would say no more, because B may stand still between that and resuming. */
mtype = { none_, act_, abrt_, done_ };
mtype mig = none_;
byte owner = 1, ncrash = 0;         /* 1 = A, 2 = B, 3 = C */
byte src = 1, dst = 0, new = 0;     /* src: 0 gone 1 running 2 paused for switchover; dst: 1 incoming 2 complete+paused 3 running */
bit A = 1, Bh = 1;                  /* host alive */
bit api = 0;                        /* what virDomainMigrate told A's agent: 1 = success */
bit fail = 0, ranafter = 0;
bit heard = 0;                      /* B's agent has heard of T7 */
bit cut = 0, frz = 0, fenced = 0;   /* B: nobody hears it; frozen by its guard; taken for fenced, which is for good */
#ifdef NOWAITDST
#define DSTGONE true
#else
#define DSTGONE (dst==0)
#endif
#ifdef NOFREEZE
#define MAYFENCE cut
#else
#define MAYFENCE frz
#endif
#ifdef EARLYT7
#define SRCGONE (dst==2)
#else
#define SRCGONE api
#endif
#define RUNNING ((src==1) + (dst==3 && !frz) + (new==1))
#define CHECK assert(RUNNING <= 1); assert(!(dst==3 && ranafter))
init { do
 :: d_step { A && Bh && owner==1 && mig==none_ -> mig=act_; dst=1 }
 :: d_step { src==1 && dst==1 && A && Bh && mig==act_ && !fail && !ranafter -> src=2 }          /* switchover */
 :: d_step { src==2 && dst==1 && Bh ->                                                             /* Finish3 runs on B */
#ifdef NOPAUSED
      dst=3; CHECK }
#else
      dst=2 }
#endif
 :: d_step { src==2 && dst>=2 && A -> src=0; api=1 }                                               /* Confirm3 ok */
 :: d_step { src==2 && A -> src=1; fail=1; ranafter=1; CHECK }                                     /* reply lost, B slow, libvirtd restart: libvirt resumes the source */
 :: d_step { src==1 && A && mig==act_ && !fail -> fail=1 }                                       /* pre-copy fails or is cancelled */
 :: d_step { dst==2 && Bh && owner!=2 -> dst=0 }                                                   /* libvirtd restart on B kills a finished, not running copy */
 /* A's agent */
 :: d_step { A && SRCGONE && mig==act_ && owner==1 -> owner=2; mig=done_ }                         /* T7 */
 :: d_step { A && fail && mig==act_ && owner==1 -> mig=abrt_ }
 /* B's agent */
 :: d_step { Bh && !cut && owner==2 -> heard=1 }
 :: d_step { Bh && heard -> heard=0 }                                                              /* it restarts */
 :: d_step { Bh && heard && dst==2 -> dst=3; CHECK }
 /* B is cut off: its guard freezes it, and thaws it unless it was fenced */
 :: d_step { Bh && !cut && ncrash<2 -> cut=1; ncrash++ }
 :: d_step { Bh && cut && !frz -> frz=1 }
 :: d_step { cut && MAYFENCE && !fenced -> fenced=1 }
 :: d_step { Bh && cut && !fenced -> cut=0; frz=0; CHECK }
 :: d_step { Bh && !cut && dst!=0 && owner!=2 && mig!=act_ -> dst=0 }
 /* hosts die (and are fenced before anything else is done_ for them) */
 :: d_step { A && ncrash<2 -> A=0; src=0; ncrash++ }
 :: d_step { Bh && ncrash<2 -> Bh=0; dst=0; ncrash++ }
 /* coordinator */
 :: d_step { owner==1 && mig==act_ && (!A || !Bh) -> 
#ifdef PROMOTE
      if :: !A && dst==2 -> owner=2; mig=done_ :: else -> mig=abrt_ fi }
#else
      mig=abrt_ }
#endif
 ::  d_step { owner==1 && !A && mig!=act_ && DSTGONE -> owner=3; new=1; CHECK }
 :: d_step { owner==2 && (!Bh || dst==0) -> owner=3; new=1; dst=0; CHECK }                          /* B dead, or its agent reports that the copy is gone */
 :: d_step { owner==2 && fenced -> owner=3; new=1; CHECK }                                           /* its copy may still be there, and be resumed */
#ifdef REACH
 :: d_step { new==1 && dst==3 -> assert(false) }                                                     /* resumed on a T7 of long ago, frozen */
#endif
 :: d_step { owner==1 && A && src==0 && mig==abrt_ && new==0 -> owner=3; new=1; CHECK }           /* A's agent reports: not running here */
 :: d_step { owner==1 && A && src==1 && mig==abrt_ && dst==0 -> mig=none_; fail=0; ranafter=0 }    /* ready for a new attempt */
 od }
